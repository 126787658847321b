"""Find the folder of a corpus under the names in which it is handed out."""

import glob
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from polymodal.errors import ManifestError, MissingCorpusError

VERSION = re.compile(r"(?:[ _.-]v?|v)(\d+(?:[._]\d+)*)", re.IGNORECASE)
MAX_LISTED = 8  # folders named in a message


@dataclass(frozen=True)
class CorpusFolder:
    """How the folder of a corpus is recognised.

    Args:
        corpus: Name of the corpus, for messages.
        names: Names of its folder; upper and lower case are equal, and a version such as `_v1_2`
            may follow.
        contents: Glob patterns, one of which matches below a folder of this corpus; empty for any
            folder.
        any_layout: Whether the reader takes a folder in which none of `contents` matches.
    """

    corpus: str
    names: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    any_layout: bool = False

    def version(self, name: str) -> tuple[int, ...] | None:
        """Return the version in the name of a folder.

        Args:
            name: Name of a folder.

        Returns:
            Its numbers, empty for a name without a version; None if it is another corpus's name.

        Example:
            >>> kemdy20 = CorpusFolder("KEMDy20", names=("KEMDy20",))
            >>> [kemdy20.version(name) for name in ("KEMDy20_v1_2", "kemdy20", "KEMDy19")]
            [(1, 2), (), None]
        """
        for known in filter(None, self.names):
            if name.casefold() == known.casefold():
                return ()
            suffix = name[len(known) :]
            if name.casefold().startswith(known.casefold()) and (
                found := VERSION.fullmatch(suffix)
            ):
                return tuple(int(number) for number in re.split(r"[._]", found.group(1)))
        return None

    def matches(self, path: Path) -> bool:
        """Tell whether a folder has the contents of this corpus.

        Args:
            path: A folder.
        """
        return not self.contents or any(
            next(path.glob(pattern), None) is not None for pattern in self.contents
        )


def find_folder(root: str, known: CorpusFolder) -> Path:
    """Find the folder of a corpus: the given one, or one of its names within it or next to it.

    A folder with the right contents is taken as it is. In any other folder, the names of the corpus
    are looked for; for a missing folder they are looked for next to it, if its own name is one of
    them without a version. Of several versions the newest is taken, with a warning.

    Args:
        root: The folder, or the one above it.
        known: How the folder is recognised.

    Returns:
        The folder.

    Raises:
        ManifestError: Nothing is found, or two folders have the same version.

    Example:
        >>> find_folder("DATA", CorpusFolder("KEMDy20", ("KEMDy20",)))  # doctest: +SKIP
        PosixPath('DATA/KEMDy20_v1_2')
    """
    path = Path(root).expanduser()
    if path.is_dir() and known.matches(path):
        return path
    above = path if path.is_dir() else path.parent
    looked_for = path.is_dir() or known.version(path.name) == ()
    found = sorted(_named(above, known), reverse=True) if looked_for and above.is_dir() else []
    if found:
        return _newest(above, found, known)
    if path.is_dir() and known.any_layout:
        return path
    raise _not_found(path, above, known)


def find_folder_of(file: str, root: str, corpus: str | None) -> Path:
    """Find the folder with a certain file, which may be a folder of the corpus's name below `root`.

    Args:
        file: The file, relative to the folder that is looked for, or absolute.
        root: The folder, or the one above it.
        corpus: Name of the corpus and of its folder; None for the name of `root`.

    Returns:
        The folder; `root` where the file is nowhere.

    Raises:
        ManifestError: There is no such folder, or several.
    """
    names = tuple(dict.fromkeys([corpus or Path(root).name, Path(root).name]))
    contents = () if Path(file).is_absolute() else (glob.escape(file),)
    return find_folder(root, CorpusFolder(corpus or "the corpus", names, contents, any_layout=True))


def _named(above: Path, known: CorpusFolder) -> Iterator[tuple[tuple[int, ...], Path]]:
    """Version and folder of each corpus; an archive often unpacks into a folder of equal name."""
    for path in above.iterdir():
        version = known.version(path.name)
        if version is None or not path.is_dir():
            continue
        if known.matches(path):
            yield version, path
        else:
            yield from _named(path, known)


def _newest(above: Path, found: list[tuple[tuple[int, ...], Path]], known: CorpusFolder) -> Path:
    (version, chosen), *others = found
    equal = [path for other, path in found if other == version]
    if len(equal) > 1:
        raise ManifestError(
            f"{above} has several folders of {known.corpus}: {_listed(equal, above)}",
            expected="one folder of each version",
            hint=f"choose one with corpus.root={equal[0]}",
        )
    if others:
        ignored = _listed([path for _, path in others], above)
        warnings.warn(
            f"{known.corpus} is read from {chosen}, the newest version; ignored: {ignored} "
            "(choose another one with corpus.root)",
            stacklevel=3,
        )
    return chosen


def _not_found(path: Path, above: Path, known: CorpusFolder) -> ManifestError:
    names = " or ".join(known.names)
    found = f"there is no folder {path}"
    if path.is_dir():
        found = f"there is no folder of {known.corpus} in {path}"
    if above.is_dir():
        here = sorted(one for one in above.iterdir() if one.is_dir())
        found += f"; {above} has {_listed(here, above) or 'no folders'}"
    contents = f" with {' or '.join(known.contents)} in it" if known.contents else ""
    expected = f"the folder of {known.corpus}{contents}"
    return MissingCorpusError(
        found,
        expected=f"{expected}, or a folder named {names} (a version may follow)"
        if names
        else expected,
        hint="give it with corpus.root=FOLDER, or the folder of all corpora with paths.data=FOLDER",
    )


def _listed(paths: list[Path], above: Path) -> str:
    names = [path.relative_to(above).as_posix() for path in paths]
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
