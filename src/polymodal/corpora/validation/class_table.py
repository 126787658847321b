"""Counts of utterances by class, split and speaker."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from polymodal.errors import ManifestError
from polymodal.schemas.manifest import Manifest

MAX_SPEAKERS = 100
NONE, OTHERS, ALL = "(none)", "(others)", "all"
SPLIT_ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class ClassTable:
    """Counts of utterances by class, split and speaker."""

    counts: pl.DataFrame  # `label`, `split`, `speaker` and `utterances`, without rows of 0

    @property
    def labels(self) -> list[str]:
        """The classes by name; `(none)` last."""
        return sorted(self.counts["label"].unique(), key=lambda name: (name == NONE, name))

    @property
    def splits(self) -> list[str]:
        """The splits: train, val, test, then others by name."""
        names = self.counts["split"].unique()
        return sorted(
            names, key=lambda name: (name == NONE, [*SPLIT_ORDER, name].index(name), name)
        )

    @property
    def missing(self) -> tuple[tuple[str, str], ...]:
        """Class and split for every class that a split lacks."""
        present = self.totals("label", "split")
        return tuple(
            (label, split)
            for label in self.labels
            for split in self.splits
            if NONE not in (label, split) and (label, split) not in present
        )

    def totals(self, *columns: str) -> dict[tuple[str, ...], int]:
        """Add up the counts by some columns, such as `label` and `split`."""
        counted = self.counts.group_by(columns).agg(pl.col("utterances").sum())
        return {tuple(row[:-1]): row[-1] for row in counted.sort(columns).iter_rows()}

    def top_speakers(self, limit: int = MAX_SPEAKERS) -> "ClassTable":
        """Return a smaller table: the `limit` largest speakers, and all others as one."""
        sizes = self.totals("speaker")
        if len(sizes) <= limit:
            return self
        largest = sorted(sizes, key=lambda speaker: (-sizes[speaker], speaker))[:limit]
        named = [speaker for (speaker,) in largest]
        speaker = pl.when(pl.col("speaker").is_in(named)).then("speaker").otherwise(pl.lit(OTHERS))
        counts = self.counts.with_columns(speaker.alias("speaker"))
        return ClassTable(_counted(counts, pl.col("utterances").sum()))

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain values, with the largest speakers as in `top_speakers`."""
        return {
            "labels": self.labels,
            "splits": self.splits,
            "absent": [{"label": label, "split": split} for label, split in self.missing],
            "totals": [
                {"label": label, "split": split, "utterances": count}
                for (label, split), count in self.totals("label", "split").items()
            ],
            "counts": self.top_speakers().counts.to_dicts(),
        }


def class_table(manifest: Manifest, split: pl.Series | None = None) -> ClassTable:
    """Count the utterances by class, split and speaker; `split` holds the name for each row.

    Raises:
        ManifestError: The numbers of splits and rows differ.
    """
    if split is not None and len(split) != len(manifest):
        raise ManifestError(
            f"{len(split)} rows have a split, the manifest has {len(manifest)}",
            expected="one a row, in the manifest's order",
        )
    splits = pl.Series([ALL]).new_from_index(0, len(manifest)) if split is None else split
    frame = manifest.frame.select(
        pl.col("label").replace("", None).fill_null(NONE),
        "speaker",
        splits.cast(pl.String).fill_null(NONE).alias("split"),
    )
    return ClassTable(_counted(frame, pl.len().cast(pl.Int64)))


def _counted(frame: pl.DataFrame, utterances: pl.Expr) -> pl.DataFrame:
    names = ("label", "split", "speaker")
    return frame.group_by(names).agg(utterances.alias("utterances")).sort(names)
