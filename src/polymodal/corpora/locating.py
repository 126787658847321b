"""Find the folder of a corpus under its published names."""

import glob
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from polymodal.errors import ManifestError, MissingCorpusError

VERSION = re.compile(r"(?:[ _.-]v?|v)(\d+(?:[._]\d+)*)", re.IGNORECASE)
MAX_LISTED = 8  # in a message


@dataclass(frozen=True)
class CorpusFolder:
    """How to recognise the folder of a corpus."""

    corpus: str  # name of the corpus, for messages
    names: tuple[str, ...] = ()  # of its folder in any case; a version such as `_v1_2` may follow
    # Glob patterns, one of which must match below the folder; empty for any folder.
    contents: tuple[str, ...] = ()
    any_layout: bool = False  # whether the reader accepts a folder without any of `contents`

    def parse_version(self, name: str) -> tuple[int, ...] | None:
        """Return the version in a folder's name, empty without one; None for another corpus.

        Example:
            >>> kemdy20 = CorpusFolder("KEMDy20", names=("KEMDy20",))
            >>> [kemdy20.parse_version(name) for name in ("KEMDy20_v1_2", "kemdy20", "KEMDy19")]
            [(1, 2), (), None]
        """
        for known_name in filter(None, self.names):
            if name.casefold() == known_name.casefold():
                return ()
            match = VERSION.fullmatch(name[len(known_name) :])
            if match and name.casefold().startswith(known_name.casefold()):
                return tuple(int(number) for number in re.split(r"[._]", match.group(1)))
        return None

    def matches(self, path: Path) -> bool:
        """Return whether a folder has the contents of this corpus."""
        return not self.contents or any(any(path.glob(pattern)) for pattern in self.contents)


def find_folder(root: str, corpus: CorpusFolder) -> Path:
    """Find the folder of a corpus: the given one, or one of its names inside or next to it.

    A folder with matching contents is used as it is. Otherwise the corpus's names are searched
    inside it, or next to a missing folder named without a version. The newest version is used, with
    a warning if there are others.

    Raises:
        ManifestError: Nothing matches, or two folders have the same version.

    Example:
        >>> find_folder("DATA", CorpusFolder("KEMDy20", ("KEMDy20",)))  # doctest: +SKIP
        PosixPath('DATA/KEMDy20_v1_2')
    """
    path = Path(root).expanduser()
    if path.is_dir() and corpus.matches(path):
        return path
    above = path if path.is_dir() else path.parent
    is_searched = above.is_dir() and (path.is_dir() or corpus.parse_version(path.name) == ())
    if candidates := sorted(_named(above, corpus), reverse=True) if is_searched else []:
        return _newest(above, candidates, corpus)
    if path.is_dir() and corpus.any_layout:
        return path
    raise _not_found(path, above, corpus)


def find_folder_of(file: str, root: str, corpus: str | None) -> Path:
    """Find the folder that contains a file: `root`, or a folder below it named like the corpus.

    Returns `root` if the file does not exist.

    Raises:
        ManifestError: There is no such folder, or several match.
    """
    names = tuple(dict.fromkeys([corpus or Path(root).name, Path(root).name]))
    contents = () if Path(file).is_absolute() else (glob.escape(file),)
    return find_folder(root, CorpusFolder(corpus or "the corpus", names, contents, any_layout=True))


def _named(above: Path, corpus: CorpusFolder) -> Iterator[tuple[tuple[int, ...], Path]]:
    """Yield version and folder of each corpus; an archive often unpacks into a nested folder."""
    for path in above.iterdir():
        version = corpus.parse_version(path.name)
        if version is None or not path.is_dir():
            continue
        if corpus.matches(path):
            yield version, path
        else:
            yield from _named(path, corpus)


def _newest(
    above: Path, candidates: list[tuple[tuple[int, ...], Path]], corpus: CorpusFolder
) -> Path:
    (version, chosen), *others = candidates
    equal = [path for other_version, path in candidates if other_version == version]
    if len(equal) > 1:
        raise ManifestError(
            f"{above} has several folders of {corpus.corpus}: {_listed(equal, above)}",
            expected="one folder of each version",
            hint=f"choose one with corpus.root={equal[0]}",
        )
    if others:
        ignored = _listed([path for _, path in others], above)
        warnings.warn(
            f"{corpus.corpus} is read from {chosen}, the newest version; ignored: {ignored} "
            "(choose another one with corpus.root)",
            stacklevel=3,
        )
    return chosen


def _not_found(path: Path, above: Path, corpus: CorpusFolder) -> ManifestError:
    missing = f"of {corpus.corpus} in {path}" if path.is_dir() else str(path)
    message = f"there is no folder {missing}"
    if above.is_dir():
        here = sorted(folder for folder in above.iterdir() if folder.is_dir())
        message += f"; {above} has {_listed(here, above) or 'no folders'}"
    contents = f" with {' or '.join(corpus.contents)} in it" if corpus.contents else ""
    expected = f"the folder of {corpus.corpus}{contents}"
    if corpus.names:
        expected += f", or a folder named {' or '.join(corpus.names)} (a version may follow)"
    return MissingCorpusError(
        message,
        expected=expected,
        hint="give it with corpus.root=FOLDER, or the folder of all corpora with paths.data=FOLDER",
    )


def _listed(paths: list[Path], above: Path) -> str:
    names = [path.relative_to(above).as_posix() for path in paths]
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
