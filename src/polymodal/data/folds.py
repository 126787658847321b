"""A fold: which rows of a manifest are for training, validation and testing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from polymodal.contracts.manifest import Manifest
from polymodal.errors import SplitError

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Fold:
    """One way of parting a corpus, as a part for each value of each grouping column.

    A row belongs to a part if all its grouping columns do. With several columns (speaker and
    sentence) a row whose columns fall into different parts belongs to none, so that the parts share
    neither speakers nor sentences.

    Args:
        index: Number of the fold, from 0.
        assignment: Column to (value to part).

    Example:
        >>> fold = Fold(0, {"speaker": {"a": "train", "b": "test"}})
        >>> fold.parts(pl.DataFrame({"speaker": ["b", "a"]})).to_list()
        ['test', 'train']
    """

    index: int
    assignment: Mapping[str, Mapping[str, str]]

    def parts(self, frame: pl.DataFrame) -> pl.Series:
        """Returns the part of each row, null for rows that belong to none.

        Args:
            frame: Rows with the grouping columns.

        Returns:
            `train`, `val`, `test` or null, in the order of the rows.
        """
        columns = [
            pl.col(name).replace_strict(dict(parts), default=None, return_dtype=pl.String)
            for name, parts in self.assignment.items()
        ]
        agreed = frame.select(
            pl.when(pl.all_horizontal(column == columns[0] for column in columns))
            .then(columns[0])
            .alias("part")
        )
        return agreed["part"]

    def select(self, manifest: Manifest, part: str) -> Manifest | None:
        """Returns the utterances of one part, or None if there is none.

        Args:
            manifest: The corpus.
            part: `train`, `val` or `test`.

        Returns:
            The part's manifest in the order of the ids.
        """
        rows = manifest.frame.filter(self.parts(manifest.frame) == part)
        return None if rows.is_empty() else manifest.take(rows.sort("utterance_id"))

    def left_out(self, manifest: Manifest) -> int:
        """Returns how many rows belong to no part."""
        return int(self.parts(manifest.frame).is_null().sum())


def shared_values(manifest: Manifest, fold: Fold, column: str) -> dict[str, list[str]]:
    """Finds values of a column that stand in more than one part of a fold.

    Args:
        manifest: The corpus.
        fold: The fold.
        column: The column, such as `speaker`.

    Returns:
        Value to the parts that share it.
    """
    rows = manifest.frame.select(pl.col(column).alias("value"), fold.parts(manifest.frame))
    shared = (
        rows.drop_nulls()
        .group_by("value")
        .agg(pl.col("part").unique().sort())
        .filter(pl.col("part").list.len() > 1)
        .sort("value")
    )
    return dict(shared.iter_rows())


def check_folds(
    manifest: Manifest, folds: Sequence[Fold], *, speaker_dependent: bool
) -> list[Fold]:
    """Refuses folds that share speakers between parts, or that lack data to train or test on.

    Args:
        manifest: The corpus.
        folds: The folds.
        speaker_dependent: Whether speakers may be shared.

    Returns:
        The folds.

    Raises:
        SplitError: A speaker stands in two parts, or a fold has no row to train or test on.
    """
    for fold in folds:
        parts = set(fold.parts(manifest.frame).drop_nulls())
        if lacking := {"train", "test"} - parts:
            raise SplitError(
                f"fold {fold.index} has no rows for {sorted(lacking)}",
                remedy="use fewer folds, other groups, or more data",
            )
        shared = {} if speaker_dependent else shared_values(manifest, fold, "speaker")
        if shared:
            speaker, parts_of = next(iter(shared.items()))
            raise SplitError(
                f"{len(shared)} speakers stand in several parts of fold {fold.index}, "
                f"such as {speaker!r} in {parts_of}",
                expected="each speaker in one part",
                remedy="split by speaker (split.groups=[speaker]), or say "
                "split.speaker_dependent=true if that is what you want to measure",
            )
    return list(folds)
