"""A fold: which rows of a manifest are for training, validation and testing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.errors import SplitError, nearest
from polymodal.schemas.manifest import Manifest
from polymodal.security.files import atomic_write

SPLITS = ("train", "val", "test")
FORMAT = 1


@dataclass(frozen=True)
class Fold:
    """One way of parting a corpus, as a part for each value of each grouping column.

    A row belongs to a part if all its grouping columns do. With several columns (speaker and
    sentence) a row whose columns fall into different parts belongs to none, so that the parts share
    neither speakers nor sentences.

    Args:
        index: Number of the fold, from 0.
        assignment: Column to (value to part).
        inner: Ways of parting this fold's own training and validation rows once more, to choose
            between options without looking at its test rows; their test parts are empty.

    Example:
        >>> fold = Fold(0, {"speaker": {"a": "train", "b": "test"}})
        >>> fold.split_of_rows(pl.DataFrame({"speaker": ["b", "a"]})).to_list()
        ['test', 'train']
    """

    index: int
    assignment: Mapping[str, Mapping[str, str]]
    inner: tuple["Fold", ...] = ()

    def split_of_rows(self, frame: pl.DataFrame) -> pl.Series:
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
        rows = manifest.frame.filter(self.split_of_rows(manifest.frame) == part)
        return None if rows.is_empty() else manifest.take(rows.sort("utterance_id"))

    def is_assigned(self, frame: pl.DataFrame) -> pl.Series:
        """Tells which rows belong to some part, of this fold or of an inner one.

        Args:
            frame: Rows with the grouping columns.

        Returns:
            Booleans in the order of the rows; all true without an assignment.
        """
        if not self.assignment:
            return pl.repeat(True, frame.height, eager=True)
        used = self.split_of_rows(frame).is_not_null()
        for inner in self.inner:  # with several columns these take rows that this fold leaves out
            used = used | inner.is_assigned(frame)
        return used

    def num_unassigned(self, manifest: Manifest) -> int:
        """Returns how many rows belong to no part."""
        return int(self.split_of_rows(manifest.frame).is_null().sum())


def values_in_several_splits(manifest: Manifest, fold: Fold, column: str) -> dict[str, list[str]]:
    """Finds values of a column that stand in more than one part of a fold.

    Args:
        manifest: The corpus.
        fold: The fold.
        column: The column, such as `speaker`.

    Returns:
        Value to the parts that share it.
    """
    rows = manifest.frame.select(pl.col(column).alias("value"), fold.split_of_rows(manifest.frame))
    shared = (
        rows.drop_nulls()
        .group_by("value")
        .agg(pl.col("part").unique().sort())
        .filter(pl.col("part").list.len() > 1)
        .sort("value")
    )
    return dict(shared.iter_rows())


def num_covered_rows(manifest: Manifest, folds: Sequence[Fold]) -> int:
    """Counts the rows that belong to a part of some fold.

    Args:
        manifest: The corpus, which may be another one than the folds were made for.
        folds: The folds.

    Returns:
        Number of rows; 0 where the corpus lacks a column that the folds part by.
    """
    columns = {column for fold in folds for column in fold.assignment}
    if not columns <= {*manifest.frame.columns}:
        return 0
    parted = pl.any_horizontal(fold.split_of_rows(manifest.frame).is_not_null() for fold in folds)
    return int(manifest.frame.select(parted).to_series().sum())


def check_folds(
    manifest: Manifest,
    folds: Sequence[Fold],
    *,
    speaker_dependent: bool,
    disjoint: Sequence[str] = (),
) -> list[Fold]:
    """Refuses folds that share what they promise not to, or that lack data to train or test on.

    Args:
        manifest: The corpus.
        folds: The folds.
        speaker_dependent: Whether speakers may be shared.
        disjoint: Further columns whose values no two parts may share.

    Returns:
        The folds.

    Raises:
        SplitError: A value stands in two parts, a column does not exist, or a fold has no row to
            train or test on.
    """
    promised = [*disjoint] if speaker_dependent else ["speaker", *disjoint]
    for column in promised:
        if column not in manifest.frame.columns:
            raise SplitError(
                f"split.disjoint names the column {column!r}",
                hint=nearest(column, manifest.frame.columns),
            )
    if not folds:
        raise SplitError("there is no fold", expected="at least one", hint="name another file")
    for fold in folds:
        _check_fold(manifest, fold, f"fold {fold.index}", {"train", "test"}, promised)
        for inner in fold.inner:
            name = f"inner fold {inner.index} of fold {fold.index}"
            _check_fold(manifest, inner, name, {"train", "val"}, promised)
    return list(folds)


def _check_fold(
    manifest: Manifest, fold: Fold, name: str, wanted: set[str], promised: Sequence[str]
) -> None:
    parts = set(fold.split_of_rows(manifest.frame).drop_nulls())
    if lacking := wanted - parts:
        raise SplitError(
            f"{name} has no rows for {sorted(lacking)}",
            hint="use fewer folds, other groups, or more data",
        )
    for column in dict.fromkeys(promised):
        _check_disjoint(manifest, fold, name, column)


def _check_disjoint(manifest: Manifest, fold: Fold, name: str, column: str) -> None:
    shared = values_in_several_splits(manifest, fold, column)
    if not shared:
        return
    value, parts = next(iter(shared.items()))
    remedy = f"split by it as well (split.groups=[speaker,{column}]), or take it out of "
    if column == "speaker":
        remedy = (
            "split by speaker (split.groups=[speaker]), or say split.speaker_dependent=true if "
            "that is what you want to measure"
        )
    else:
        remedy += "split.disjoint"
    raise SplitError(
        f"{len(shared)} {column}s stand in several parts of {name}, such as {value!r} in {parts}",
        expected=f"each {column} in one part",
        hint=remedy,
    )


def write_folds(path: Path, folds: Sequence[Fold], fingerprint: str) -> None:
    """Writes folds to a file that `split=file` reads.

    Args:
        path: The file, `.json`.
        folds: The folds.
        fingerprint: Of the manifest that was parted.
    """
    body = {"format": FORMAT, "fingerprint": fingerprint, "folds": [_plain(one) for one in folds]}
    with atomic_write(path) as beside:
        beside.write_text(json.dumps(body, ensure_ascii=False) + "\n", encoding="utf-8")


def read_folds(path: Path) -> tuple[list[Fold], str]:
    """Reads folds from a file that a run has recorded.

    Args:
        path: The file, or the folder of the run.

    Returns:
        The folds, and the fingerprint of the manifest that was parted.

    Raises:
        SplitError: It cannot be read or is no such file.
    """
    file = path / "folds.json" if path.is_dir() else path
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            raise ValueError(f"its format is {body['format']}, this program reads {FORMAT}")
        return [_fold(one) for one in body["folds"]], str(body["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SplitError(
            f"{file} holds no folds: {error}",
            expected="a folds.json that a run has recorded",
            hint="name a run folder or its folds.json with split.file=…",
        ) from None


def _plain(fold: Fold) -> dict[str, Any]:
    plain: dict[str, Any] = {"index": fold.index, "assignment": fold.assignment}
    return {**plain, "inner": [_plain(one) for one in fold.inner]} if fold.inner else plain


def _fold(plain: Mapping[str, Any]) -> Fold:
    if not plain["assignment"]:
        raise ValueError("a fold parts nothing")
    for parts in plain["assignment"].values():
        if unknown := set(parts.values()) - {*SPLITS}:
            raise ValueError(f"it names the part {min(unknown)!r}")
    inner = tuple(_fold(one) for one in plain.get("inner", ()))
    return Fold(int(plain["index"]), plain["assignment"], inner)
