"""How many utterances there are of each class, in each split, by each speaker."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from polymodal.errors import ManifestError
from polymodal.schemas.manifest import Manifest

LISTED_SPEAKERS = 100
NONE, OTHERS, ALL = "(none)", "(others)", "all"
SPLIT_ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class ClassTable:
    """How many utterances there are of each class, in each split, by each speaker.

    Args:
        counts: Columns `label`, `split`, `speaker` and `utterances`; no row where there is none.
    """

    counts: pl.DataFrame

    @property
    def labels(self) -> list[str]:
        """The classes by name; utterances without one last."""
        return sorted(self.counts["label"].unique(), key=lambda name: (name == NONE, name))

    @property
    def splits(self) -> list[str]:
        """The splits: train, val, test, then others by name."""
        return sorted(self.counts["split"].unique(), key=_split_order)

    @property
    def absent(self) -> tuple[tuple[str, str], ...]:
        """Class and split for every class that a split lacks."""
        present = self.totals("label", "split")
        return tuple(
            (label, split)
            for label in self.labels
            for split in self.splits
            if NONE not in (label, split) and (label, split) not in present
        )

    def totals(self, *columns: str) -> dict[tuple[str, ...], int]:
        """Adds the counts up.

        Args:
            columns: What to keep apart, such as `label` and `split`.

        Returns:
            Values of these columns to the number of utterances.
        """
        counted = self.counts.group_by(columns).agg(pl.col("utterances").sum())
        return {tuple(row[:-1]): row[-1] for row in counted.sort(columns).iter_rows()}

    def listed(self, limit: int = LISTED_SPEAKERS) -> "ClassTable":
        """Returns a table that stays small: the largest speakers, and all others as one.

        Args:
            limit: How many speakers are named.

        Returns:
            The table; itself where there are no more speakers.
        """
        sizes = self.totals("speaker")
        if len(sizes) <= limit:
            return self
        largest = sorted(sizes, key=lambda one: (-sizes[one], one))[:limit]
        named = [speaker for (speaker,) in largest]
        speaker = pl.when(pl.col("speaker").is_in(named)).then("speaker").otherwise(pl.lit(OTHERS))
        counts = self.counts.with_columns(speaker.alias("speaker"))
        return ClassTable(_counted(counts, pl.col("utterances").sum()))

    def to_json(self) -> dict[str, Any]:
        """Returns the counts as plain values, the speakers listed as in `listed`."""
        return {
            "labels": self.labels,
            "splits": self.splits,
            "absent": [{"label": label, "split": split} for label, split in self.absent],
            "totals": [
                {"label": label, "split": split, "utterances": count}
                for (label, split), count in self.totals("label", "split").items()
            ],
            "counts": self.listed().counts.to_dicts(),
        }


def class_table(manifest: Manifest, split: pl.Series | None = None) -> ClassTable:
    """Counts the utterances by class, split and speaker.

    Args:
        manifest: The corpus.
        split: Name of the split of each row; None where the corpus is not parted.

    Returns:
        The counts.

    Raises:
        ManifestError: There are more or fewer splits than rows.
    """
    if split is not None and len(split) != len(manifest):
        raise ManifestError(
            f"{len(split)} rows have a split, the manifest has {len(manifest)}",
            expected="one a row, in the manifest's order",
        )
    parts = pl.Series([ALL]).new_from_index(0, len(manifest)) if split is None else split
    frame = manifest.frame.select(
        pl.col("label").replace("", None).fill_null(NONE),
        "speaker",
        parts.cast(pl.String).fill_null(NONE).alias("split"),
    )
    return ClassTable(_counted(frame, pl.len().cast(pl.Int64)))


def _counted(frame: pl.DataFrame, utterances: pl.Expr) -> pl.DataFrame:
    names = ("label", "split", "speaker")
    return frame.group_by(names).agg(utterances.alias("utterances")).sort(names)


def _split_order(name: str) -> tuple[int, str]:
    place = SPLIT_ORDER.index(name) if name in SPLIT_ORDER else len(SPLIT_ORDER)
    return (place + (name == NONE), name)
