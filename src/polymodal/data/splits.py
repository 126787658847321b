"""Ways to split a corpus: by speaker by default, deterministic under seed and order of the rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from polymodal.data.folds import SPLITS, Fold, check_folds, read_folds, variants_error
from polymodal.errors import SplitError, nearest, reason_of
from polymodal.schemas.delimited import sniff_separator
from polymodal.schemas.keys import CONTENTS, case_variants, clean_key
from polymodal.schemas.manifest import Manifest

NUM_TRIES = 64
TABLES = (".csv", ".tsv")  # what `split.file` may be besides the folds of a run


def holdout(
    manifest: Manifest,
    *,
    groups: Sequence[str] = ("speaker",),
    test: float = 0.2,
    val: float = 0.2,
    seed: int = 0,
    speaker_dependent: bool = False,
    disjoint: Sequence[str] = (),
) -> list[Fold]:
    """Split a corpus once: groups to test, groups to validate, the rest to train.

    Of `NUM_TRIES` random assignments the one is taken whose splits come nearest to the requested
    sizes and to the class distribution of the corpus.

    `groups` are columns whose values no two splits may have in common, `disjoint` further ones,
    such as `dialogue`, or `transcript` for what is said. `test` and `val` are fractions of the
    utterances, `seed` is that of the assignment. Common speakers are an error, unless the split is
    `speaker_dependent`.

    Raises:
        SplitError: A column does not exist, has empty values, or has fewer values than splits; or
            splits have speakers in common.

    Example:
        >>> frame = pl.DataFrame({"utterance_id": list("uvwx"), "speaker": list("abcd")})
        >>> corpus = Manifest(frame.with_columns(label=pl.lit("sad")), Path())
        >>> fold = holdout(corpus, test=0.25, val=0.25)[0]
        >>> sorted(fold.assignment["speaker"].values())
        ['test', 'train', 'train', 'val']
    """
    sizes = {"test": test, "val": val, "train": 1.0 - test - val}
    if min(test, 1 - test - val) < 1e-9 or val < 0:
        raise SplitError(
            f"split.test={test} and split.val={val} leave nothing to test or train on",
            expected="test > 0, val >= 0, test + val < 1",
        )
    fractions = {split: size for split, size in sizes.items() if size > 0}
    folds = [Fold(0, {column: _draw(manifest, column, fractions, seed) for column in groups})]
    return check_folds(manifest, folds, speaker_dependent=speaker_dependent, disjoint=disjoint)


def k_fold(
    manifest: Manifest,
    *,
    groups: Sequence[str] = ("speaker",),
    num_folds: int = 5,
    val: float = 0.2,
    seed: int = 0,
    speaker_dependent: bool = False,
    disjoint: Sequence[str] = (),
) -> list[Fold]:
    """Split a corpus so that each group is tested on once.

    The folds are alike in size and, if the groups allow it, in their classes. With several columns
    each has `num_folds` folds of its own, and every combination is a fold (two columns and 5 folds
    give 25). `val` is the fraction of the remaining values to validate on, 0 for none; the other
    options are those of `holdout`.

    Raises:
        SplitError: A column does not exist, has empty values, or has fewer values than folds; or
            splits have speakers in common.

    Example:
        >>> frame = pl.DataFrame({"utterance_id": list("uvwx"), "speaker": list("abcd")})
        >>> corpus = Manifest(frame.with_columns(label=pl.lit("sad")), Path())
        >>> folds = k_fold(corpus, num_folds=2, val=0)
        >>> [fold.split_of_rows(corpus.frame).to_list().count("test") for fold in folds]
        [2, 2]
    """
    assignments = [_rotate(manifest, column, num_folds, val, seed) for column in groups]
    folds = _combine(groups, assignments)
    return check_folds(manifest, folds, speaker_dependent=speaker_dependent, disjoint=disjoint)


def leave_one_group_out(
    manifest: Manifest,
    *,
    groups: Sequence[str] = ("speaker",),
    val: float = 0.0,
    seed: int = 0,
    speaker_dependent: bool = False,
    disjoint: Sequence[str] = (),
) -> list[Fold]:
    """Test on each value of each column in turn, such as each speaker; options as of `k_fold`.

    Raises:
        SplitError: A column does not exist, has empty values, or has fewer than two values; or
            splits have speakers in common.

    Example:
        >>> frame = pl.DataFrame({"utterance_id": list("uvw"), "speaker": list("aab")})
        >>> corpus = Manifest(frame.with_columns(label=pl.lit("sad")), Path())
        >>> [fold.split_of_rows(corpus.frame).to_list() for fold in leave_one_group_out(corpus)]
        [['test', 'test', 'train'], ['train', 'train', 'test']]
    """
    assignments = [
        _rotate(manifest, column, len(_values(manifest, column, 2)), val, seed) for column in groups
    ]
    folds = _combine(groups, assignments)
    return check_folds(manifest, folds, speaker_dependent=speaker_dependent, disjoint=disjoint)


def predefined(
    manifest: Manifest,
    *,
    column: str = "split",
    names: Mapping[str, str] | None = None,
    speaker_dependent: bool = False,
    disjoint: Sequence[str] = (),
) -> list[Fold]:
    """Take the splits that a column of the manifest states, as one fold.

    `names` maps the values of the column to `train`, `val` or `test`; None if it has these values.
    The other options are those of `holdout`.

    Raises:
        SplitError: The column does not exist, has a value that is not in `names`, or splits have
            speakers in common.
    """
    values = _values(manifest, column, 1)
    splits = {clean_key(name): split for name, split in (names or {n: n for n in SPLITS}).items()}
    if unknown := [value for value in values if value not in splits]:
        raise SplitError(
            f"column {column!r} has the value {unknown[0]!r}",
            expected=f"one of {sorted(splits)}",
            hint="map the values with split.names={value: train|val|test}",
        )
    folds = [Fold(0, {column: splits})]
    return check_folds(manifest, folds, speaker_dependent=speaker_dependent, disjoint=disjoint)


def nested_k_fold(
    manifest: Manifest,
    *,
    groups: Sequence[str] = ("speaker",),
    num_folds: int = 5,
    num_inner: int = 3,
    val: float = 0.2,
    seed: int = 0,
    speaker_dependent: bool = False,
    disjoint: Sequence[str] = (),
) -> list[Fold]:
    """Split a corpus like `k_fold`, and the rows left for training once more.

    The inner folds choose between options (`selection` in the configuration); the outer test splits
    then measure the choice, which never saw them (Varma and Simon, 2006). `val` is for training
    with the chosen options.

    Raises:
        SplitError: A column does not exist, has empty values, or has fewer values than folds; or
            splits are not disjoint.
    """
    checks: dict[str, Any] = {"speaker_dependent": speaker_dependent, "disjoint": disjoint}
    outer = k_fold(manifest, groups=groups, num_folds=num_folds, val=val, seed=seed, **checks)
    folds = [
        replace(fold, inner=tuple(_inner(manifest, fold, num_inner, seed + 1))) for fold in outer
    ]
    return check_folds(manifest, folds, **checks)


def _inner(manifest: Manifest, fold: Fold, num_inner: int, seed: int) -> list[Fold]:
    """Split the training and validation rows of a fold; each group is validated on once."""
    rows = manifest.frame.filter(fold.split_of_rows(manifest.frame).is_in(["train", "val"]))
    training, columns = manifest.take(rows), list(fold.assignment)
    rotated = [_rotate(training, column, num_inner, 0.0, seed, "val") for column in columns]
    return _combine(columns, rotated)


def from_file(
    manifest: Manifest,
    *,
    file: str,
    groups: Sequence[str] = (),
    unknown: Literal["refuse", "leave_out"] = "refuse",
    inner: bool = False,
    speaker_dependent: bool = False,
    disjoint: Sequence[str] = (),
) -> list[Fold]:
    """Take the folds of a file: of a run, or a published table.

    A table (`.csv`, `.tsv`) has a column of the manifest (such as `utterance_id` or `speaker`), a
    column `split` with train, val or test, and where there are several folds a column `fold`.

    `file` is a run's folder, its `folds.json`, or a table. `unknown` says what to do with rows that
    the file does not mention, `inner` whether inner folds are read as well, for `selection`. The
    other options are those of `holdout`.

    Raises:
        SplitError: The file cannot be read, names other columns, does not mention a row, or its
            splits are not disjoint.
    """
    path = Path(file).expanduser()
    folds = _folds_of_table(path) if path.suffix in TABLES else read_folds(path)[0]
    folds = folds if inner else [replace(fold, inner=()) for fold in folds]
    for fold in folds:
        for column, splits in fold.assignment.items():
            values = _values(manifest, column, 1)
            unassigned = [value for value in values if value not in splits]
            if unassigned and unknown == "refuse":
                raise SplitError(
                    f"{path} has no split for {len(unassigned)} values of {column!r}, such as "
                    f"{unassigned[0]!r}",
                    hint="use the same corpus, or leave them out with split.unknown=leave_out",
                )
    disjoint = [*groups, *disjoint]
    return check_folds(manifest, folds, speaker_dependent=speaker_dependent, disjoint=disjoint)


def _folds_of_table(path: Path) -> list[Fold]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        separator = sniff_separator(text, path.suffix)
        table = pl.read_csv(text.encode(), infer_schema=False, separator=separator)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise SplitError(
            f"{path} cannot be read: {reason_of(error)}",
            expected="a table of folds with commas, semicolons or tabs, in UTF-8",
            hint="name another with split.file=…",
        ) from None
    table = table.rename({name: clean_key(name) for name in table.columns})
    keys = [name for name in table.columns if name not in ("split", "fold")]
    if "split" not in table.columns or len(keys) != 1:
        raise SplitError(
            f"{path} has the columns {table.columns}",
            expected="a column of the manifest, `split`, and `fold` where there are several",
        )
    columns = [pl.col(name) for name in table.columns if name not in CONTENTS]
    table = table.with_columns(column.map_elements(clean_key, pl.String) for column in columns)
    if unknown := sorted(set(table["split"].drop_nulls()) - {*SPLITS}):
        raise SplitError(f"{path} names the split {unknown[0]!r}", expected=f"one of {SPLITS}")
    if "fold" not in table.columns:
        table = table.with_columns(fold=pl.lit("0"))
    table = table.drop_nulls().unique(maintain_order=True)
    if (duplicates := table.filter(table.select(keys[0], "fold").is_duplicated())).height:
        raise SplitError(
            f"{path} has two splits for {keys[0]} {duplicates[keys[0]][0]!r} in one fold",
            expected="one split",
        )
    names = sorted(table["fold"].unique(), key=lambda name: (len(name), name))
    folds = []
    for index, name in enumerate(names):
        rows = table.filter(fold=name)
        folds.append(Fold(index, {keys[0]: dict(rows.select(keys[0], "split").iter_rows())}))
    return folds


def random_utterances(
    manifest: Manifest,
    *,
    test: float = 0.2,
    val: float = 0.2,
    seed: int = 0,
    speaker_dependent: bool = False,
    disjoint: Sequence[str] = (),
) -> list[Fold]:
    """Split single utterances at random, so that all splits have speakers in common.

    Scores of such a split say nothing about a new speaker; options as of `holdout`.

    Raises:
        SplitError: There are fewer utterances than splits, or splits have speakers in common.
    """
    checks: dict[str, Any] = {"speaker_dependent": speaker_dependent, "disjoint": disjoint}
    return holdout(manifest, groups=["utterance_id"], test=test, val=val, seed=seed, **checks)


def _combine(groups: Sequence[str], assignments: Sequence[list[dict[str, str]]]) -> list[Fold]:
    return [
        Fold(index, dict(zip(groups, combination, strict=True)))
        for index, combination in enumerate(product(*assignments))
    ]


def _values(manifest: Manifest, column: str, minimum: int) -> list[str]:
    frame = manifest.frame
    if column not in frame.columns:
        raise SplitError(
            f"the corpus has no column {column!r} to split by",
            hint=nearest(column, [n for n in frame.columns if frame[n].dtype == pl.String]),
        )
    if empty := frame[column].null_count():
        raise SplitError(
            f"column {column!r} is empty in {empty} of {frame.height} rows",
            hint="split by another column, or leave those rows out with corpus.where",
        )
    values = frame[column].unique().sort().to_list()
    if len(values) < minimum:
        raise SplitError(
            f"column {column!r} has {len(values)} values",
            expected=f"at least {minimum}, one for each split or fold",
            hint="use fewer folds or splits, or another column",
        )
    return values


def _distinct(manifest: Manifest, column: str, minimum: int) -> list[str]:
    """Return the values to deal to splits, none of which differ by letter case alone."""
    values = _values(manifest, column, minimum)
    variants = case_variants(values) if column != "utterance_id" else []
    if variants:
        raise variants_error(column, variants[0])
    return values


def _draw(
    manifest: Manifest, column: str, fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Assign the values of a column to splits of given fractions, balanced in size and classes."""
    values = _distinct(manifest, column, len(fractions))
    counts = _class_counts(manifest, column)
    generator = np.random.default_rng(seed)
    tries = NUM_TRIES if len(values) < 10_000 else 1
    candidates = [_cut(generator.permutation(len(values)), counts, fractions) for _ in range(tries)]
    best = min(candidates, key=lambda assigned: _imbalance(assigned, counts, fractions))
    names = list(fractions)
    return {value: names[split] for value, split in zip(values, best, strict=True)}


def _class_counts(manifest: Manifest, column: str) -> np.ndarray:
    """Count utterances by value of the column (sorted) and by class, `[value, class]`."""
    table = manifest.frame.select(
        pl.col(column).alias("value"), pl.col("label").fill_null("").alias("class")
    )
    counts = table.group_by("value", "class").len().pivot("class", index="value", values="len")
    names = sorted(name for name in counts.columns if name != "value")
    return np.asarray(counts.sort("value").select(names).fill_null(0), dtype=np.int64)


def _cut(order: np.ndarray, counts: np.ndarray, fractions: Mapping[str, float]) -> np.ndarray:
    """Give values in random order to the splits until each has its fraction; none stays empty."""
    sizes = counts.sum(axis=1)[order]
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    edges = np.cumsum(list(fractions.values()))[:-1]
    splits: np.ndarray = np.asarray(np.searchsorted(edges, middle))
    for split in range(len(fractions)):  # the first splits are the small ones
        if not (splits == split).any():
            splits[split] = split
    assigned: np.ndarray = np.empty_like(splits)
    assigned[order] = splits
    return assigned


def _imbalance(assigned: np.ndarray, counts: np.ndarray, fractions: Mapping[str, float]) -> float:
    """Return the squared deviations from the expected utterances of each class in each split."""
    actual = np.stack([counts[assigned == split].sum(axis=0) for split in range(len(fractions))])
    expected = np.outer(list(fractions.values()), counts.sum(axis=0))
    return float((((actual - expected) / np.maximum(expected, 1)) ** 2).sum())


def _rotate(
    manifest: Manifest, column: str, num_folds: int, val: float, seed: int, held: str = "test"
) -> list[dict[str, str]]:
    """Split the values of a column into folds, each held out once; the next are validated on."""
    values = _distinct(manifest, column, max(2, num_folds))
    if num_folds < 2:
        raise SplitError(f"split.num_folds={num_folds}", expected="at least 2")
    order = np.random.default_rng(seed).permutation(len(values))
    buckets = _balanced(order, _class_counts(manifest, column), num_folds)
    assignments = []
    for fold in range(num_folds):
        rest = [v for step in range(1, num_folds) for v in buckets[(fold + step) % num_folds]]
        num_val = math.ceil(val * len(rest)) if val else 0
        if num_val >= len(rest):
            raise SplitError(f"split.val={val} leaves no {column} to train on")
        splits = {values[v]: "train" for v in rest}
        splits |= {values[v]: "val" for v in rest[:num_val]}
        splits |= {values[v]: held for v in buckets[fold]}
        assignments.append(splits)
    return assignments


def _balanced(order: np.ndarray, counts: np.ndarray, num_folds: int) -> list[list[int]]:
    """Deal values to folds, the largest first, each to the fold that has least of its classes."""
    buckets: list[list[int]] = [[] for _ in range(num_folds)]
    if len(order) == num_folds:  # leave one out: folds in the order of the names
        return [[value] for value in range(num_folds)]
    fractions = counts / np.maximum(counts.sum(axis=0), 1)  # of each class
    sizes = counts.sum(axis=1)
    dealt, totals = np.zeros((num_folds, counts.shape[1])), np.zeros(num_folds)
    for value in sorted(order, key=lambda v: -sizes[v]):
        overlap = np.round(dealt @ fractions[value], 12)
        chosen = int(np.lexsort((totals, overlap))[0])
        buckets[chosen].append(int(value))
        dealt[chosen] += fractions[value]
        totals[chosen] += sizes[value]
    return buckets
