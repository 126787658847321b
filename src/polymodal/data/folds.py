"""Folds: which rows of a manifest are for training, validation and testing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.errors import SplitError, nearest, reason_of
from polymodal.schemas.keys import CONTENTS, case_variants, clean_key, fold_key
from polymodal.schemas.manifest import Manifest
from polymodal.security.files import atomic_write

SPLITS = ("train", "val", "test")
FORMAT = 1
FOLDS = "folds.json"  # in the folder of a run


@dataclass(frozen=True)
class Fold:
    """A split of a corpus: for each value of each grouping column `train`, `val` or `test`.

    A row belongs to a split if all its grouping columns do. With several columns (speaker and
    sentence) a row whose columns are in different splits belongs to none, so that the splits have
    neither speakers nor sentences in common.

    `assignment` is column to (value to split). The splits of `inner` divide the training and
    validation rows of this fold once more, to choose between options without looking at its test
    rows; they have no test rows.

    Example:
        >>> fold = Fold(0, {"speaker": {"a": "train", "b": "test"}})
        >>> fold.split_of_rows(pl.DataFrame({"speaker": ["b", "a"]})).to_list()
        ['test', 'train']
    """

    index: int  # from 0
    assignment: Mapping[str, Mapping[str, str]]
    inner: tuple["Fold", ...] = ()

    def split_of_rows(self, frame: pl.DataFrame) -> pl.Series:
        """Return `train`, `val`, `test` or null for each row of the frame."""
        columns = [
            pl.col(name).replace_strict(dict(splits), default=None, return_dtype=pl.String)
            for name, splits in self.assignment.items()
        ]
        agree = pl.all_horizontal(column == columns[0] for column in columns)
        return frame.select(pl.when(agree).then(columns[0]).alias("split"))["split"]

    def select(self, manifest: Manifest, split: str) -> Manifest | None:
        """Return the utterances of one split in the order of the ids, or None without any."""
        rows = manifest.frame.filter(self.split_of_rows(manifest.frame) == split)
        return None if rows.is_empty() else manifest.take(rows.sort("utterance_id"))

    def is_assigned(self, frame: pl.DataFrame) -> pl.Series:
        """Return which rows belong to a split of this fold or of an inner one.

        All do in a fold without an assignment.
        """
        if not self.assignment:
            return pl.repeat(True, frame.height, eager=True)
        assigned = self.split_of_rows(frame).is_not_null()
        for inner in self.inner:  # with several columns they have rows that this fold leaves out
            assigned = assigned | inner.is_assigned(frame)
        return assigned


def values_in_several_splits(manifest: Manifest, fold: Fold, column: str) -> dict[str, list[str]]:
    """Return the values of a column that are in several splits of a fold, with these splits."""
    rows = manifest.frame.select(pl.col(column).alias("value"), fold.split_of_rows(manifest.frame))
    shared = (
        rows.drop_nulls()
        .group_by("value")
        .agg(pl.col("split").unique().sort())
        .filter(pl.col("split").list.len() > 1)
        .sort("value")
    )
    return dict(shared.iter_rows())


def num_covered_rows(manifest: Manifest, folds: Sequence[Fold]) -> int:
    """Count the rows that belong to a split of any fold.

    The corpus may be another one than the folds were made for: 0 if it lacks one of their columns.
    """
    columns = {column for fold in folds for column in fold.assignment}
    if not columns <= {*manifest.frame.columns}:
        return 0
    covered = pl.any_horizontal(fold.split_of_rows(manifest.frame).is_not_null() for fold in folds)
    return int(manifest.frame.select(covered).to_series().sum())


def check_folds(
    manifest: Manifest,
    folds: Sequence[Fold],
    *,
    speaker_dependent: bool,
    disjoint: Sequence[str] = (),
) -> list[Fold]:
    """Return the folds if their splits are disjoint and not empty.

    The speakers of splits have to differ unless `speaker_dependent`, and the values of the columns
    `disjoint`.

    Raises:
        SplitError: A value is in two splits, a column does not exist, or a fold has no row to
            train or test on.
    """
    promised = [*disjoint] if speaker_dependent else ["speaker", *disjoint]
    for column in promised:
        if column not in manifest.frame.columns:
            message = f"split.disjoint names the column {column!r}"
            raise SplitError(message, hint=nearest(column, manifest.frame.columns))
    if not folds:
        raise SplitError("there is no fold", expected="at least one", hint="choose another file")
    for fold in folds:
        _check_fold(manifest, fold, f"fold {fold.index}", {"train", "test"}, promised)
        for inner in fold.inner:
            name = f"inner fold {inner.index} of fold {fold.index}"
            _check_fold(manifest, inner, name, {"train", "val"}, promised)
    return list(folds)


def _check_fold(
    manifest: Manifest, fold: Fold, name: str, required: set[str], promised: Sequence[str]
) -> None:
    splits = set(fold.split_of_rows(manifest.frame).drop_nulls())
    if missing := required - splits:
        raise SplitError(
            f"{name} has no rows for {sorted(missing)}",
            hint="use fewer folds, other groups, or more data",
        )
    for column in dict.fromkeys(promised):
        _check_disjoint(manifest, fold, name, column)
    for column in dict.fromkeys([*promised, *fold.assignment]):
        _check_variants(manifest, fold, name, column)


def _check_variants(manifest: Manifest, fold: Fold, name: str, column: str) -> None:
    """Refuse names in different splits that differ by letter case or blanks alone."""
    if column == "utterance_id":
        return
    frame = manifest.frame
    rows = pl.DataFrame([frame[column].alias("value"), fold.split_of_rows(frame).alias("split")])
    splits: dict[str, set[str]] = {}
    for value, split in rows.drop_nulls().unique().iter_rows():
        splits.setdefault(fold_key(value), set()).add(split)
    values = (value for value in rows.drop_nulls()["value"].unique())
    for group in case_variants(values):
        if len(splits[fold_key(group[0])]) > 1:
            raise variants_error(column, group, f", in different splits of {name}")


def variants_error(column: str, names: Sequence[str], where: str = "") -> SplitError:
    """Return the error of names that are likely to mean the same, but would be told apart."""
    return SplitError(
        f"{column} {' and '.join(map(repr, names))} differ by letter case or blanks alone{where}",
        expected=f"one spelling of each {column}, as no two splits may have one in common",
        hint="give them one name in the corpus, or clearly different ones if they are different",
    )


def _check_disjoint(manifest: Manifest, fold: Fold, name: str, column: str) -> None:
    shared = values_in_several_splits(manifest, fold, column)
    if not shared:
        return
    value, splits = next(iter(shared.items()))
    hint = (
        "split by speaker (split.groups=[speaker]), or set split.speaker_dependent=true if that is "
        "what you want to measure"
        if column == "speaker"
        else f"split by it as well (split.groups=[speaker,{column}]), or remove it from "
        "split.disjoint"
    )
    raise SplitError(
        f"{len(shared)} {column}s are in several splits of {name}, such as {value!r} in {splits}",
        expected=f"each {column} in one split",
        hint=hint,
    )


def write_folds(path: Path, folds: Sequence[Fold], fingerprint: str) -> None:
    """Write folds, and the fingerprint of their manifest, to a `.json` that `split=file` reads."""
    body = {"format": FORMAT, "fingerprint": fingerprint, "folds": [_plain(fold) for fold in folds]}
    with atomic_write(path) as tmp_path:
        tmp_path.write_text(json.dumps(body, ensure_ascii=False) + "\n", encoding="utf-8")


def read_folds(path: Path) -> tuple[list[Fold], str]:
    """Read the folds of a run, and the fingerprint of their manifest, from its folder or file.

    Raises:
        SplitError: The file cannot be read or holds no folds.
    """
    file = path / FOLDS if path.is_dir() else path
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            raise ValueError(f"its format is {body['format']}, this version reads {FORMAT}")
        return [_fold(fold) for fold in body["folds"]], str(body["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        is_own = isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError)
        reason = str(error) if is_own else reason_of(error)
        raise SplitError(
            f"{file} holds no folds: {reason}",
            expected="a folds.json that a run has recorded",
            hint="name a run folder or its folds.json with split.file=…",
        ) from None


def _plain(fold: Fold) -> dict[str, Any]:
    plain: dict[str, Any] = {"index": fold.index, "assignment": fold.assignment}
    return {**plain, "inner": [_plain(inner) for inner in fold.inner]} if fold.inner else plain


def _fold(plain: Mapping[str, Any]) -> Fold:
    if not plain["assignment"]:
        raise ValueError("a fold has no assignment")
    assignment = {name: _clean_names(name, of) for name, of in plain["assignment"].items()}
    for splits in assignment.values():
        if unknown := set(splits.values()) - {*SPLITS}:
            raise ValueError(f"it names the split {min(unknown)!r}")
    inner = tuple(_fold(fold) for fold in plain.get("inner", ()))
    return Fold(int(plain["index"]), assignment, inner)


def _clean_names(column: str, splits: Mapping[str, str]) -> dict[str, str]:
    """Clean the names of a recorded fold as readers clean those of a corpus."""
    cleaned: dict[str, str] = {}
    for name, split in splits.items():
        key = name if column in CONTENTS else clean_key(name)
        if cleaned.setdefault(key, split) != split:
            raise ValueError(f"it has {column} {key!r} in {cleaned[key]} and in {split}")
    return cleaned
