"""The manifest: one row an utterance, and where its audio, text and signals are."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.errors import ManifestError, reason_of

ROWS_AT_ONCE = 65_536
SIGNAL = pl.Struct(
    {
        "name": pl.String,
        "path": pl.String,
        "rate_hz": pl.Float64,
        "start": pl.Int64,
        "length": pl.Int64,
    }
)
VOTE = pl.Struct({"label": pl.String, "count": pl.Int64})
SCHEMA: Mapping[str, Any] = {
    "utterance_id": pl.String(),
    "corpus": pl.String(),
    "speaker": pl.String(),
    "dialogue": pl.String(),
    "audio": pl.String(),
    "start_s": pl.Float64(),
    "duration_s": pl.Float64(),
    "sampling_rate_hz": pl.Int64(),
    "channels": pl.Int64(),
    "audio_bytes": pl.Int64(),
    "audio_sha256": pl.String(),
    "text": pl.String(),
    "text_raw": pl.String(),
    "signals": pl.List(SIGNAL),
    "label": pl.String(),
    "votes": pl.List(VOTE),
    "valence": pl.Float64(),
    "arousal": pl.Float64(),
}


@dataclass(frozen=True)
class SignalReference:
    """Where the values of one physiological signal of one utterance are.

    Args:
        name: Name of the signal, such as `eda`.
        path: A `.npy` file below `Manifest.signals_root`: `[sample]` or `[sample, channel]`.
        rate_hz: Samples a second; None for one value an event (heart-beat intervals).
        start: First sample of the utterance in the file.
        length: Number of samples; None for all from `start` on.
    """

    name: str
    path: str
    rate_hz: float | None = None
    start: int = 0
    length: int | None = None


@dataclass(frozen=True)
class Utterance:
    """One row of a manifest, as the readers of audio, text and signals get it.

    Args:
        utterance_id: The unique name of the utterance.
        speaker: Who speaks.
        audio: Audio file below the root, or None.
        start_s: Where the utterance begins in that file, in seconds.
        duration_s: How long it lasts, in seconds; None if unknown.
        audio_bytes: Size of the audio file when the corpus was read; None if unknown.
        text: What is said, or None.
        signals: Name of a signal to where it is.
        label: The class, or None for a tie or an unlabelled utterance.
    """

    utterance_id: str
    speaker: str
    audio: str | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    audio_bytes: int | None = None
    text: str | None = None
    signals: Mapping[str, SignalReference] = field(default_factory=dict)
    label: str | None = None


@dataclass(frozen=True)
class RejectedRow:
    """A row of a raw corpus that did not become an utterance, and why.

    Args:
        row: Row number in the file (the first row of data is 1), or the file's name.
        rule: Short name of the rule that refused it, such as `unknown label`.
        reason: What was found.
    """

    row: int | str
    rule: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """The utterances of a corpus and the folder that their paths are relative to.

    Columns of `SCHEMA` that a frame lacks are added empty; further columns are kept as text, for
    splits to group by.

    Args:
        frame: One row an utterance.
        root: The folder below which every path lies.
        refused: Rows of the raw corpus that were refused.
        handled: Oddity of the raw corpus to how often the reader met and mended it.
        signals_root: The folder below which the signals lie; the root where it is not given.

    Raises:
        ManifestError: There is no row, a required value is missing, or an id stands twice.

    Example:
        >>> frame = pl.DataFrame({"utterance_id": ["a"], "speaker": ["s1"], "text": ["ja"]})
        >>> manifest = Manifest(frame, Path("."))
        >>> manifest.utterance(0).text
        'ja'
    """

    frame: pl.DataFrame
    root: Path
    refused: tuple[RejectedRow, ...] = ()
    handled: Mapping[str, int] = field(default_factory=dict)
    signals_root: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", _conform(self.frame))
        _check(self.frame)

    def __len__(self) -> int:
        return self.frame.height

    @property
    def signals_folder(self) -> Path:
        """The folder below which the signals lie."""
        return self.signals_root or self.root

    def utterance(self, row: int) -> Utterance:
        """Return one row as an `Utterance`.

        Args:
            row: Position of the row, from 0.

        Returns:
            The utterance; empty text counts as missing.
        """
        values = self.frame.row(row, named=True)
        signals = {signal["name"]: _signal(signal) for signal in values["signals"] or ()}
        return Utterance(
            utterance_id=values["utterance_id"],
            speaker=values["speaker"],
            audio=values["audio"],
            start_s=values["start_s"] or 0.0,
            duration_s=values["duration_s"],
            audio_bytes=values["audio_bytes"],
            text=(values["text"] or "").strip() or None,
            signals=signals,
            label=values["label"],
        )

    def fingerprint(self) -> str:
        """Return a hash of all rows that their order does not change.

        Returns:
            64 hexadecimal digits (SHA-256).
        """
        columns = sorted(self.frame.columns)
        frame = self.frame.select(columns).sort("utterance_id")
        digest = hashlib.sha256("\n".join((*columns, "")).encode())
        for rows in frame.iter_slices(ROWS_AT_ONCE):
            digest.update(rows.write_ndjson().encode())
        return digest.hexdigest()

    def rejected_by_rule(self) -> dict[str, int]:
        """Return how many rows each rule refused."""
        return dict(Counter(refusal.rule for refusal in self.refused))

    def take(self, frame: pl.DataFrame) -> "Manifest":
        """Return a manifest of other rows, with the same folders and refusals.

        Args:
            frame: The rows to keep.

        Returns:
            The new manifest.

        Raises:
            ManifestError: No row is left.
        """
        return replace(self, frame=frame)

    def write(self, path: Path) -> None:
        """Write the rows as Parquet: equal rows make equal bytes.

        Args:
            path: The file to write.
        """
        self.frame.write_parquet(path, row_group_size=ROWS_AT_ONCE)

    @classmethod
    def read(cls, path: Path, root: Path | None = None) -> "Manifest":
        """Read a manifest that `write` made.

        Args:
            path: The Parquet file.
            root: The folder of the corpus; the file's own folder where it is not given.

        Returns:
            The manifest.

        Raises:
            ManifestError: The file is missing or no Parquet.
        """
        try:
            frame = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ManifestError(
                f"manifest {path} cannot be read: {reason_of(error)}",
                hint="write it with `polymodal corpus NAME ROOT --out FILE`",
            ) from None
        return cls(frame, root or path.parent)


def _conform(frame: pl.DataFrame) -> pl.DataFrame:
    pairs = [
        (pl.col(name) if name in frame.columns else pl.lit(None).alias(name)).cast(dtype)
        for name, dtype in SCHEMA.items()
    ]
    others = [pl.col(name).cast(pl.String) for name in frame.columns if name not in SCHEMA]
    try:
        return frame.select(*pairs, *others)
    except pl.exceptions.PolarsError as error:
        raise ManifestError(
            f"a column holds values of another kind: {str(error).splitlines()[0]}",
            expected=f"text, or for {', '.join(SCHEMA)} what the manifest declares",
            hint="mend the column, or map another one to it with corpus.columns",
        ) from None


def _check(frame: pl.DataFrame) -> None:
    if frame.is_empty():
        raise ManifestError(
            "the manifest has no utterance",
            hint="check corpus.root, the filters, and which rows were refused",
        )
    for column in ("utterance_id", "speaker"):
        empty = frame[column].is_null() | (frame[column] == "")
        if empty.any():
            raise ManifestError(
                f"row {empty.arg_true()[0] + 1} has no {column}",
                expected=f"a {column} in every row",
                hint="fill the column, or map another one to it with corpus.columns",
            )
    repeated = frame["utterance_id"].is_duplicated()
    if repeated.any():
        name = frame["utterance_id"].filter(repeated)[0]
        rows = [row + 1 for row in (frame["utterance_id"] == name).arg_true()]
        raise ManifestError(
            f"id {name!r} stands in rows {rows}",
            expected="each utterance_id once",
            hint="rename or remove one of the rows",
        )


def _signal(values: Mapping[str, Any]) -> SignalReference:
    return SignalReference(
        name=values["name"],
        path=values["path"],
        rate_hz=values["rate_hz"],
        start=values["start"] or 0,
        length=values["length"],
    )
