"""Audio files in folders whose names say the label, the speaker or whatever else is known."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.corpora._base import Rules, build_manifest, require_dir
from polymodal.errors import DataError, ManifestError
from polymodal.schemas.manifest import SCHEMA, Manifest, RejectedRow
from polymodal.security.paths import resolve_inside

OUTSIDE = "path outside the corpus"
# Columns of ours that a path can say; the others come from the files themselves.
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
    """Reads the audio files below a folder; a regular expression says what their paths mean.

    The expression must match the whole path below the folder, without the suffix and with `/` on
    every system. Each of its named groups becomes a column. The id is that path, if no group says
    another. A `.txt` beside an audio file is what is said in it. Files and folders whose names
    begin with a dot are left alone.

    Args:
        root: The folder.
        pattern: The regular expression, such as `(?P<speaker>[^/]+)/(?P<label>[^/]+)/[^/]+`.
        speaker: One speaker for all files, for paths that name none.
        corpus: Name of the corpus; the folder's name by default.
        suffixes: Which files are audio; upper and lower case are the same.
        encoding: Of the `.txt` files; with UTF-8 a byte order mark is left out.
        classes: The declared classes; None to accept any label.
        label_map: The folders' word to ours.
        where: Column to the value, or values, to keep.
        max_refused: How many files may be refused; None for any number.

    Returns:
        The manifest.

    Raises:
        ManifestError: The folder is missing or has no audio, the expression or the encoding cannot
            be used, nothing names a speaker, or more files were refused than allowed.

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
    if not rows and not tree.refused:
        raise ManifestError(
            f"no file below {folder} ends in {', '.join(endings)}",
            expected="audio files",
            hint="check corpus.root and corpus.suffixes",
        )
    rules = Rules(classes, label_map or {}, where or {}, max_refused)
    return build_manifest(rows, folder, rules, tree.refused, handled=dict(tree.handled))


def _compiled(pattern: str, speaker: str | None) -> re.Pattern[str]:
    remedy = f"write for example corpus.pattern='{EXAMPLE}' for SPEAKER/LABEL/NAME.wav"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ManifestError(
            f"corpus.pattern={pattern!r} is no regular expression: {error}", hint=remedy
        ) from None
    groups = compiled.groupindex
    if not groups:
        raise ManifestError(
            f"corpus.pattern={pattern!r} names no group",
            expected="a group for what each part of the path says",
            hint=remedy,
        )
    if wrong := [name for name in groups if name in SCHEMA and name not in FIELDS_OF_PATHS]:
        raise ManifestError(
            f"corpus.pattern has a group {wrong[0]!r}, which a path cannot say",
            expected=f"{', '.join(FIELDS_OF_PATHS)}, or a name of your own",
            hint="rename the group",
        )
    if "speaker" not in groups and not speaker:
        raise ManifestError(
            f"nothing in corpus.pattern={pattern!r} says who speaks",
            expected="a speaker for every file, as splits are by speaker",
            hint=f"{remedy}, or give one speaker to all files with corpus.speaker=NAME",
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
    """A folder that is being read.

    Args:
        folder: The folder.
        pattern: What a path below it means.
        codec: Encoding of the texts.
        refused: Files that cannot be used.
        handled: Oddity to how often it was met.
    """

    folder: Path
    pattern: re.Pattern[str]
    codec: str
    refused: list[RejectedRow] = field(default_factory=list)
    handled: Counter[str] = field(default_factory=Counter)

    def rows(self, endings: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The name and the columns of every audio file that can be used."""
        files = sorted(self._files())
        audio = [name for name in files if name.lower().endswith(endings)]
        stems = {os.path.splitext(name)[0] for name in audio}
        texts = {stem for name in files for stem, end in [os.path.splitext(name)] if end == ".txt"}
        if alone := len(texts - stems):
            self.handled["text without audio"] = alone
        for name in audio:
            stem = os.path.splitext(name)[0]
            row, fault = self._row(name, stem, stem in texts)
            if fault:
                self.refused.append(RejectedRow(_shown(name), *fault))
            else:
                yield name, row

    def _files(self) -> Iterator[str]:
        """Paths below the folder, with `/`; of links to folders only the refusal or the count."""
        for place, folders, files in os.walk(self.folder):
            below = Path(place).relative_to(self.folder)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in folders:
                if (Path(place) / name).is_symlink():
                    self._linked((below / name).as_posix())
            yield from ((below / name).as_posix() for name in files if not name.startswith("."))

    def _linked(self, name: str) -> None:
        try:
            resolve_inside(self.folder, name)
            self.handled["link to a folder of the corpus"] += 1
        except DataError as error:
            self.refused.append(RejectedRow(_shown(name), OUTSIDE, _shown(error.message)))

    def _row(
        self, name: str, stem: str, has_text: bool
    ) -> tuple[dict[str, Any], tuple[str, str] | None]:
        if _shown(name) != name:
            return {}, ("unreadable name", "its bytes are not UTF-8")
        # Some systems take letters apart (NFD); a label of the configuration is written in one.
        path = unicodedata.normalize("NFC", stem)
        found = self.pattern.fullmatch(path)
        if found is None:
            return {}, ("path does not match the pattern", f"{path!r}, {self.pattern.pattern}")
        said = found.groupdict()
        row = said | {"utterance_id": said.get("utterance_id") or path, "audio": name}
        if not has_text:
            return row, None
        try:
            words = resolve_inside(self.folder, f"{stem}.txt").read_bytes().decode(self.codec)
        except DataError as error:
            return {}, (OUTSIDE, error.message)
        except (OSError, UnicodeDecodeError) as error:
            return {}, ("unreadable text", f"{stem}.txt: {error}")
        return row | {"text": words.strip()}, None


def _shown(name: str) -> str:
    """A name that can be written; bytes that are no UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
