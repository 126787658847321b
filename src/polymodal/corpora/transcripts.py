"""Transcripts: decode bytes of unknown encoding, and prepare text for an encoder."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

import polars as pl

from polymodal.errors import ConfigError
from polymodal.schemas.manifest import Manifest

ENCODINGS = ("utf-8-sig", "cp949")
BRACKETS = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]|<([^<>]*)>")
NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
QUOTES = str.maketrans(dict.fromkeys("\u2018\u2019\u201a\u201b\u00b4`", "'")) | str.maketrans(
    dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
)


class TextPreparation:
    """Prepare transcripts for an encoder; by default only blanks change.

    The steps run in the order of the arguments; runs of blanks become one blank at the end.

    Args:
        unicode_form: Unicode normalisation: NFC composes Korean letters that were decomposed (as in
            file names of macOS). NFKC also narrows letters, but replaces single Korean letters
            (`ㅋㅋ`).
        narrow: Whether full-width letters and signs become narrow.
        markers: Regular expressions of annotation marks to remove.
        brackets: What happens to `(…)`, `[…]` and `<…>`: keep, keep their `content`, or `drop`.
        quotes: Whether typographic quotation marks become plain ones.
        repeats: Longest run of one character that is kept (`ㅋㅋㅋㅋㅋ`); 0 for any.
        punctuation: Whether punctuation is kept or dropped.
        case: Whether letters keep their case or become lower case.

    Raises:
        ConfigError: A marker is not a regular expression.

    Example:
        >>> prepare = TextPreparation(markers=[r"[a-z]/"], brackets="content", repeats=2)
        >>> prepare("b/ 아니 (그게)  ㅋㅋㅋㅋ")
        '아니 그게 ㅋㅋ'
    """

    def __init__(
        self,
        *,
        unicode_form: Literal["NFC", "NFKC"] | None = None,
        narrow: bool = False,
        markers: Sequence[str] = (),
        brackets: Literal["keep", "content", "drop"] = "keep",
        quotes: bool = False,
        repeats: int = 0,
        punctuation: Literal["keep", "drop"] = "keep",
        case: Literal["keep", "lower"] = "keep",
    ) -> None:
        self.unicode_form, self.narrow, self.markers = unicode_form, narrow, tuple(markers)
        self.brackets, self.quotes, self.repeats = brackets, quotes, repeats
        self.punctuation, self.case = punctuation, case
        for marker in self.markers:
            try:
                re.compile(marker)
            except re.error as error:
                raise ConfigError(
                    f"the marker {marker!r} is not a regular expression: {error}",
                    hint=r"write a backslash before characters such as * or +",
                ) from None
        pattern = "|".join(f"(?:{marker})" for marker in self.markers)
        self._marker = re.compile(pattern) if pattern else None
        self._run = re.compile(rf"(.)\1{{{repeats},}}") if repeats else None

    def __call__(self, text: str) -> str:
        """Return a prepared transcript; it may be empty."""
        if self.unicode_form:
            text = unicodedata.normalize(self.unicode_form, text)
        if self.narrow:
            text = text.translate(NARROW)
        if self._marker:
            text = self._marker.sub(" ", text)
        if self.brackets != "keep":
            # One of the groups of a match is the content of its brackets.
            content = " " if self.brackets == "drop" else r" \1\2\3 "
            text = BRACKETS.sub(content, text)
        if self.quotes:
            text = text.translate(QUOTES)
        if self._run:
            text = self._run.sub(lambda match: match.group(1) * self.repeats, text)
        if self.punctuation == "drop":
            text = "".join(" " if unicodedata.category(c).startswith("P") else c for c in text)
        if self.case == "lower":
            text = text.lower()
        return " ".join(text.split())

    def changes_nothing(self) -> bool:
        """Return whether every text stays as it is, but for blanks."""
        is_plain = self.brackets == self.punctuation == self.case == "keep"
        steps = (self.unicode_form, self.narrow, self.markers, self.quotes, self.repeats)
        return is_plain and not any(steps)


def prepare_text(manifest: Manifest, preparation: TextPreparation) -> Manifest:
    """Prepare the transcripts of a corpus, and keep the raw ones in `text_raw`.

    A text of which nothing is left becomes missing.

    Example:
        >>> from pathlib import Path
        >>> frame = pl.DataFrame({"utterance_id": ["a"], "speaker": ["s"], "text": ["JA!"]})
        >>> lowered = prepare_text(Manifest(frame, Path()), TextPreparation(case="lower"))
        >>> lowered.utterance(0).text, lowered.frame["text_raw"][0]
        ('ja!', 'JA!')
    """
    if preparation.changes_nothing():
        return manifest
    texts = manifest.frame["text"]
    cleaned = [text and (preparation(text) or None) for text in texts]
    prepared = pl.Series("text", cleaned, pl.String)
    raw = pl.coalesce("text_raw", "text").alias("text_raw")
    return manifest.take(manifest.frame.with_columns(raw).with_columns(prepared))


def decode(raw: bytes) -> tuple[str, str]:
    """Decode UTF-8, with or without a byte order mark, or else cp949 (Korean).

    Returns the text and its encoding.

    Raises:
        UnicodeDecodeError: The text is neither.

    Example:
        >>> decode("화가 나".encode("cp949"))
        ('화가 나', 'cp949')
    """
    for encoding in ENCODINGS[:-1]:
        try:
            return raw.decode(encoding), encoding.removesuffix("-sig")
        except UnicodeDecodeError:
            continue
    return raw.decode(ENCODINGS[-1]), ENCODINGS[-1]
