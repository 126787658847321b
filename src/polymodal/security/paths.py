"""Paths that come from data stay inside the folder they belong to."""

from pathlib import Path

from polymodal.errors import DataError


def resolve_inside(root: Path, relative: str) -> Path:
    """Join a path from a manifest to its root, and reject one that leaves it.

    Args:
        root: The folder of the corpus.
        relative: The path as the manifest has it.

    Returns:
        The joined path; it need not exist.

    Raises:
        DataError: The path is absolute, climbs out with `..`, or is a link that points outside.

    Example:
        >>> resolve_inside(Path("/corpus"), "wav/a.wav").as_posix()
        '/corpus/wav/a.wav'
    """
    joined = root / relative
    if not Path(relative).is_absolute() and joined.resolve().is_relative_to(root.resolve()):
        return joined
    raise DataError(
        f"path {relative!r} leaves the corpus folder {root}",
        expected="a relative path below the corpus folder",
        hint="move the file into the corpus folder, or set corpus.root to a folder above both",
    )
