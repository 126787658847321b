"""Audio files in folders whose names give label, speaker or other columns."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.corpora._base import ReaderOptions, build_manifest, require_dir
from polymodal.corpora.cells import Row
from polymodal.errors import DataError, ManifestError
from polymodal.schemas.audio_formats import UNREADABLE, conversion
from polymodal.schemas.manifest import SCHEMA, Manifest, RejectedRow
from polymodal.security.paths import resolve_inside

OUTSIDE = "path outside the corpus"
# Columns that a path can give; the others come from the files.
FIELDS_OF_PATHS = ("utterance_id", "corpus", "speaker", "dialogue", "label")
EXAMPLE = "(?P<speaker>[^/]+)/(?P<label>[^/]+)/[^/]+"


def read_folders(
    root: str,
    *,
    pattern: str = r"(?P<label>[^/]+)/[^/]+",
    speaker: str | None = None,
    corpus: str | None = None,
    suffixes: Sequence[str] = (".wav", ".flac", ".ogg", ".mp3"),
    encoding: str = "utf-8",
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    max_refused: int | None = 0,
) -> Manifest:
    """Read the audio files below a folder, whose paths a regular expression explains.

    The expression must match the complete path below the folder, without suffix and with `/` on
    every system. Its named groups become columns. The path is the id unless a group gives one. A
    `.txt` next to an audio file is its transcript. Hidden files and folders are ignored.

    `pattern` is the regular expression, such as `(?P<speaker>[^/]+)/(?P<label>[^/]+)/[^/]+`.
    `speaker` is that of all files, if paths give none; `corpus` the name, by default the folder's.
    `suffixes` are those of audio files, in lower or upper case; `encoding` that of the `.txt` files
    (a byte order mark of UTF-8 is ignored). The other options are those of `ReaderOptions`.

    Raises:
        ManifestError: The folder is missing or has no audio, the expression or the encoding is not
            valid, there is no speaker, or more files were rejected than allowed.

    Example:
        >>> import tempfile, numpy, soundfile
        >>> folder = Path(tempfile.mkdtemp(), "s1", "joy")
        >>> folder.mkdir(parents=True)
        >>> soundfile.write(folder / "a.wav", numpy.zeros(160), 16000)
        >>> paths = "(?P<speaker>[^/]+)/(?P<label>[^/]+)/[^/]+"
        >>> manifest = read_folders(str(folder.parents[1]), pattern=paths)
        >>> manifest.frame.select("utterance_id", "speaker", "label").row(0)
        ('s1/joy/a', 's1', 'joy')
    """
    folder = require_dir(root, "the corpus")
    tree = _Tree(folder, _compiled(pattern, speaker), _codec(encoding))
    fixed = {"corpus": corpus or folder.name} | ({"speaker": speaker} if speaker else {})
    endings = tuple(suffix.lower() for suffix in suffixes)
    rows = [(name, row | fixed) for name, row in tree.rows(endings)]
    if not rows and not tree.rejected:
        raise _no_audio(folder, endings, tree)
    options = ReaderOptions(classes, label_map, where, max_refused)
    return build_manifest(rows, folder, options, tree.rejected, handled=tree.handled)


def _no_audio(folder: Path, endings: Sequence[str], tree: "_Tree") -> ManifestError:
    hint = "check corpus.root and corpus.suffixes"
    if tree.unreadable:
        command = conversion(folder / tree.unreadable[0])
        hint = f"convert the {len(tree.unreadable)} files that cannot be read: {command}"
    return ManifestError(
        f"no file below {folder} ends in {', '.join(endings)}", expected="audio files", hint=hint
    )


def _compiled(pattern: str, speaker: str | None) -> re.Pattern[str]:
    hint = f"write for example corpus.pattern='{EXAMPLE}' for SPEAKER/LABEL/NAME.wav"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ManifestError(
            f"corpus.pattern={pattern!r} is not a regular expression: {error}", hint=hint
        ) from None
    groups = compiled.groupindex
    if not groups:
        raise ManifestError(
            f"corpus.pattern={pattern!r} has no named group",
            expected="a group for each column that the path gives",
            hint=hint,
        )
    if wrong := [name for name in groups if name in SCHEMA and name not in FIELDS_OF_PATHS]:
        raise ManifestError(
            f"corpus.pattern has a group {wrong[0]!r}, which a path cannot give",
            expected=f"{', '.join(FIELDS_OF_PATHS)}, or another name",
            hint="rename the group",
        )
    if "speaker" not in groups and not speaker:
        raise ManifestError(
            f"nothing in corpus.pattern={pattern!r} gives the speaker",
            expected="a speaker for every file, as splits are by speaker",
            hint=f"{hint}, or give one speaker to all files with corpus.speaker=NAME",
        )
    return compiled


def _codec(encoding: str) -> str:
    try:
        "".encode(encoding)
    except LookupError as error:
        raise ManifestError(
            f"corpus.encoding={encoding}: {error}",
            hint="name the encoding of the texts, such as corpus.encoding=cp949",
        ) from None
    return "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding


@dataclass
class _Tree:
    """A folder that is being read: `rejected` files, and `handled` oddities with their counts."""

    folder: Path
    pattern: re.Pattern[str]
    codec: str
    rejected: list[RejectedRow] = field(default_factory=list)
    handled: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)  # audio of formats that cannot be read

    def rows(self, endings: tuple[str, ...]) -> Iterator[tuple[str, Row]]:
        """Yield name and columns of every usable audio file."""
        files = sorted(self._files())
        audio = [name for name in files if name.lower().endswith(endings)]
        stems = {os.path.splitext(name)[0] for name in audio}
        texts = {stem for name in files for stem, end in [os.path.splitext(name)] if end == ".txt"}
        others = {*files} - {*audio}
        self.unreadable = sorted(name for name in others if name.lower().endswith(UNREADABLE))
        self.handled["audio of a format that cannot be read (M4A, AAC and others)"] = len(
            self.unreadable
        )
        self.handled["text without audio"] = len(texts - stems)
        for name in audio:
            stem = os.path.splitext(name)[0]
            row, fault = self._row(name, stem, stem in texts)
            if fault:
                self.rejected.append(RejectedRow(_shown(name), *fault))
            else:
                yield name, row

    def _files(self) -> Iterator[str]:
        """Yield paths below the folder, with `/`; reject or count links to folders."""
        for parent, folders, files in os.walk(self.folder):
            below = Path(parent).relative_to(self.folder)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in folders:
                if (Path(parent) / name).is_symlink():
                    self._linked((below / name).as_posix())
            yield from ((below / name).as_posix() for name in files if not name.startswith("."))

    def _linked(self, name: str) -> None:
        try:
            resolve_inside(self.folder, name)
            self.handled["link to a folder of the corpus"] += 1
        except DataError as error:
            self.rejected.append(RejectedRow(_shown(name), OUTSIDE, _shown(error.message)))

    def _row(self, name: str, stem: str, has_text: bool) -> tuple[Row, tuple[str, str] | None]:
        if _shown(name) != name:
            return {}, ("unreadable name", "its bytes are not UTF-8")
        # Some systems decompose letters (NFD); labels of the configuration are composed.
        path = unicodedata.normalize("NFC", stem)
        match = self.pattern.fullmatch(path)
        if match is None:
            return {}, ("path does not match the pattern", f"{path!r}, {self.pattern.pattern}")
        columns = match.groupdict()
        row = columns | {"utterance_id": columns.get("utterance_id") or path, "audio": name}
        if not has_text:
            return row, None
        try:
            text = resolve_inside(self.folder, f"{stem}.txt").read_bytes().decode(self.codec)
        except DataError as error:
            return {}, (OUTSIDE, error.message)
        except (OSError, UnicodeDecodeError) as error:
            return {}, ("unreadable text", f"{stem}.txt: {error}")
        return row | {"text": text.strip()}, None


def _shown(name: str) -> str:
    """Return a name that can be printed; bytes that are not UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
