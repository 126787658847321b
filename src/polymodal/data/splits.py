"""Splits that are honest by default: by speaker, deterministic under seed and order of the rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from polymodal.data.folds import SPLITS, Fold, check_folds, read_folds
from polymodal.errors import SplitError, nearest
from polymodal.schemas.manifest import Manifest

NUM_TRIES = 64


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
    """Parts a corpus once: some groups to test, some to validate, the rest to train.

    Of `NUM_TRIES` random assignments the one is taken whose parts come nearest to the sizes asked
    for and to the class shares of the corpus.

    Args:
        manifest: The corpus.
        groups: Columns whose values must not be shared between parts.
        test: Share of the utterances to test on.
        val: Share of the utterances to validate on.
        seed: Seed of the assignment.
        speaker_dependent: Whether parts may share speakers; otherwise that is an error.
        disjoint: Further columns whose values no two parts may share, such as `dialogue`, or
            `transcript` for what is said.

    Returns:
        One fold.

    Raises:
        SplitError: A column does not exist, has empty values, or has fewer values than parts; or
            the parts share speakers.
    """
    shares = {"test": test, "val": val, "train": 1.0 - test - val}
    if min(test, 1 - test - val) < 1e-9 or val < 0:
        raise SplitError(
            f"split.test={test} and split.val={val} leave nothing to test or train on",
            expected="test > 0, val >= 0, test + val < 1",
        )
    wanted = {part: share for part, share in shares.items() if share > 0}
    folds = [Fold(0, {column: _draw(manifest, column, wanted, seed) for column in groups})]
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
    """Parts a corpus so that each group is tested on once.

    The folds are alike in size and, as far as the groups allow, in their classes. With several
    columns each is parted into `num_folds` of its own, and every combination is a fold (two columns
    and 5 folds give 25).

    Args:
        manifest: The corpus.
        groups: Columns whose values must not be shared between parts.
        num_folds: Number of folds of each column.
        val: Share of the values left for training to validate on; 0 for none.
        seed: Seed of the assignment.
        speaker_dependent: Whether parts may share speakers; otherwise that is an error.
        disjoint: Further columns whose values no two parts may share, such as `dialogue`, or
            `transcript` for what is said.

    Returns:
        The folds.

    Raises:
        SplitError: A column does not exist, has empty values, or has fewer values than folds; or
            the parts share speakers.
    """
    parted = [_rotate(manifest, column, num_folds, val, seed) for column in groups]
    return check_folds(
        manifest, _combine(groups, parted), speaker_dependent=speaker_dependent, disjoint=disjoint
    )


def leave_one_group_out(
    manifest: Manifest,
    *,
    groups: Sequence[str] = ("speaker",),
    val: float = 0.0,
    seed: int = 0,
    speaker_dependent: bool = False,
    disjoint: Sequence[str] = (),
) -> list[Fold]:
    """Tests on each value of each column in turn, such as each speaker.

    Args:
        manifest: The corpus.
        groups: Columns whose values must not be shared between parts.
        val: Share of the values left for training to validate on; 0 for none.
        seed: Seed of the choice of those to validate on.
        speaker_dependent: Whether parts may share speakers; otherwise that is an error.
        disjoint: Further columns whose values no two parts may share, such as `dialogue`, or
            `transcript` for what is said.

    Returns:
        One fold for each value (or combination of values).

    Raises:
        SplitError: A column does not exist, has empty values, or has fewer than two values; or
            the parts share speakers.
    """
    parted = [
        _rotate(manifest, column, len(_values(manifest, column, 2)), val, seed) for column in groups
    ]
    return check_folds(
        manifest, _combine(groups, parted), speaker_dependent=speaker_dependent, disjoint=disjoint
    )


def predefined(
    manifest: Manifest,
    *,
    column: str = "split",
    names: Mapping[str, str] | None = None,
    speaker_dependent: bool = False,
    disjoint: Sequence[str] = (),
) -> list[Fold]:
    """Takes the parts that a column of the manifest states.

    Args:
        manifest: The corpus.
        column: The column.
        names: The column's word to `train`, `val` or `test`; None if it uses these words.
        speaker_dependent: Whether parts may share speakers; otherwise that is an error.
        disjoint: Further columns whose values no two parts may share, such as `dialogue`, or
            `transcript` for what is said.

    Returns:
        One fold.

    Raises:
        SplitError: The column does not exist, has a word that is not named, or the parts share
            speakers.
    """
    words = _values(manifest, column, 1)
    known = dict(names or {"train": "train", "val": "val", "test": "test"})
    if unknown := [word for word in words if word not in known]:
        raise SplitError(
            f"column {column!r} says {unknown[0]!r}",
            expected=f"one of {sorted(known)}",
            hint="map the corpus's words with split.names={word: train|val|test}",
        )
    folds = [Fold(0, {column: known})]
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
    """Parts a corpus like `k_fold`, and what is left for training once more.

    The inner folds choose between options (`selection` in the configuration); the outer test parts
    then measure the choice, which never saw them (Varma and Simon, 2006).

    Args:
        manifest: The corpus.
        groups: Columns whose values must not be shared between parts.
        num_folds: Number of outer folds of each column.
        num_inner: Number of inner folds of each column.
        val: Share of the values left for training to validate on, when the chosen options are
            trained; 0 for none.
        seed: Seed of the assignment.
        speaker_dependent: Whether parts may share speakers; otherwise that is an error.
        disjoint: Further columns whose values no two parts may share, such as `dialogue`, or
            `transcript` for what is said.

    Returns:
        The folds, each with its inner folds.

    Raises:
        SplitError: A column does not exist, has empty values, or has fewer values than folds; or
            the parts share what they must not.
    """
    outer = k_fold(
        manifest,
        groups=groups,
        num_folds=num_folds,
        val=val,
        seed=seed,
        speaker_dependent=speaker_dependent,
        disjoint=disjoint,
    )
    folds = [
        replace(fold, inner=tuple(_inner(manifest, fold, num_inner, seed + 1))) for fold in outer
    ]
    return check_folds(manifest, folds, speaker_dependent=speaker_dependent, disjoint=disjoint)


def _inner(manifest: Manifest, fold: Fold, num_inner: int, seed: int) -> list[Fold]:
    """Parts the training and validation rows of a fold; each part is validated on once."""
    rows = manifest.frame.filter(fold.split_of_rows(manifest.frame).is_in(["train", "val"]))
    learning = manifest.take(rows)
    parted = [_rotate(learning, column, num_inner, 0.0, seed) for column in fold.assignment]
    renamed = [
        [{value: part.replace("test", "val") for value, part in one.items()} for one in of_column]
        for of_column in parted
    ]
    return _combine(list(fold.assignment), renamed)


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
    """Takes the folds of a file: of a run, or a table that others have published.

    A table (`.csv`) has a column of the manifest (such as `utterance_id` or `speaker`), a column
    `part` with train, val or test, and where there are several folds a column `fold`.

    Args:
        manifest: The corpus.
        file: A run's folder, its `folds.json`, or a table.
        groups: Columns whose values must not be shared between parts.
        unknown: What becomes of rows that the file does not mention.
        inner: Whether inner folds are taken as well, for `selection`.
        speaker_dependent: Whether parts may share speakers; otherwise that is an error.
        disjoint: Further columns whose values no two parts may share, such as `dialogue`, or
            `transcript` for what is said.

    Returns:
        The folds.

    Raises:
        SplitError: The file cannot be read, names other columns, does not mention a row, or its
            parts share what they must not.
    """
    path = Path(file).expanduser()
    folds = _folds_of_table(path) if path.suffix == ".csv" else read_folds(path)[0]
    folds = folds if inner else [replace(fold, inner=()) for fold in folds]
    for fold in folds:
        for column, parts in fold.assignment.items():
            values = _values(manifest, column, 1)
            strange = [value for value in values if value not in parts]
            if strange and unknown == "refuse":
                raise SplitError(
                    f"{path} does not say to which part {len(strange)} values of {column!r} "
                    f"belong, such as {strange[0]!r}",
                    hint="use the corpus that was parted, or leave them out with "
                    "split.unknown=leave_out",
                )
    return check_folds(
        manifest,
        folds,
        speaker_dependent=speaker_dependent,
        disjoint=[*groups, *disjoint],
    )


def _folds_of_table(path: Path) -> list[Fold]:
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SplitError(f"{path} cannot be read: {error}") from None
    keys = [name for name in table.columns if name not in ("part", "fold")]
    if "part" not in table.columns or len(keys) != 1:
        raise SplitError(
            f"{path} has the columns {table.columns}",
            expected="a column of the manifest, `part`, and `fold` where there are several",
        )
    if unknown := sorted(set(table["part"].drop_nulls()) - {*SPLITS}):
        raise SplitError(f"{path} names the part {unknown[0]!r}", expected=f"one of {SPLITS}")
    if "fold" not in table.columns:
        table = table.with_columns(fold=pl.lit("0"))
    table = table.drop_nulls().unique(maintain_order=True)
    if (twice := table.filter(table.select(keys[0], "fold").is_duplicated())).height:
        raise SplitError(
            f"{path} gives {keys[0]} {twice[keys[0]][0]!r} two parts in one fold",
            expected="one part",
        )
    names = sorted(table["fold"].unique(), key=lambda name: (len(name), name))
    folds = []
    for index, name in enumerate(names):
        rows = table.filter(fold=name)
        folds.append(Fold(index, {keys[0]: dict(rows.select(keys[0], "part").iter_rows())}))
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
    """Parts single utterances at random, so that all parts share their speakers.

    Scores of such a split say nothing about a new speaker.

    Args:
        manifest: The corpus.
        test: Share of the utterances to test on.
        val: Share of the utterances to validate on.
        seed: Seed of the assignment.
        speaker_dependent: Whether parts may share speakers; otherwise that is an error.
        disjoint: Further columns whose values no two parts may share, such as `dialogue`, or
            `transcript` for what is said.

    Returns:
        One fold.

    Raises:
        SplitError: There are fewer utterances than parts, or the parts share speakers.
    """
    return holdout(
        manifest,
        groups=("utterance_id",),
        test=test,
        val=val,
        seed=seed,
        speaker_dependent=speaker_dependent,
        disjoint=disjoint,
    )


def _combine(groups: Sequence[str], parted: Sequence[list[dict[str, str]]]) -> list[Fold]:
    return [
        Fold(index, dict(zip(groups, combination, strict=True)))
        for index, combination in enumerate(product(*parted))
    ]


def _values(manifest: Manifest, column: str, at_least: int) -> list[str]:
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
    if len(values) < at_least:
        raise SplitError(
            f"column {column!r} has {len(values)} values",
            expected=f"at least {at_least}, one for each part or fold",
            hint="use fewer folds or parts, or another column",
        )
    return values


def _draw(
    manifest: Manifest, column: str, shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Assigns the values of a column to parts of given shares, balanced in size and classes."""
    values = _values(manifest, column, len(shares))
    counts = _class_counts(manifest, column)
    generator = np.random.default_rng(seed)
    tries = NUM_TRIES if len(values) < 10_000 else 1
    candidates = [_cut(generator.permutation(len(values)), counts, shares) for _ in range(tries)]
    best = min(candidates, key=lambda parts: _imbalance(parts, counts, shares))
    names = list(shares)
    return {value: names[part] for value, part in zip(values, best, strict=True)}


def _class_counts(manifest: Manifest, column: str) -> np.ndarray:
    """Counts utterances by value of the column (sorted) and by class, `[value, class]`."""
    table = manifest.frame.select(
        pl.col(column).alias("value"), pl.col("label").fill_null("").alias("class")
    )
    counts = table.group_by("value", "class").len().pivot("class", index="value", values="len")
    names = sorted(name for name in counts.columns if name != "value")
    return np.asarray(counts.sort("value").select(names).fill_null(0), dtype=np.int64)


def _cut(order: np.ndarray, counts: np.ndarray, shares: Mapping[str, float]) -> np.ndarray:
    """Gives values in random order to the parts until each has its share; none stays empty."""
    sizes = counts.sum(axis=1)[order]
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    edges = np.cumsum(list(shares.values()))[:-1]
    parts: np.ndarray = np.asarray(np.searchsorted(edges, middle))
    for part in range(len(shares)):  # the first parts are the small ones
        if not (parts == part).any():
            parts[part] = part
    assigned: np.ndarray = np.empty_like(parts)
    assigned[order] = parts
    return assigned


def _imbalance(parts: np.ndarray, counts: np.ndarray, shares: Mapping[str, float]) -> float:
    """Sum of squared differences to the wanted number of utterances of each class in each part."""
    got = np.stack([counts[parts == part].sum(axis=0) for part in range(len(shares))])
    wanted = np.outer(list(shares.values()), counts.sum(axis=0))
    return float((((got - wanted) / np.maximum(wanted, 1)) ** 2).sum())


def _rotate(
    manifest: Manifest, column: str, num_folds: int, val: float, seed: int
) -> list[dict[str, str]]:
    """Parts the values of a column into folds, each tested on once; the next are validated on."""
    values = _values(manifest, column, max(2, num_folds))
    if num_folds < 2:
        raise SplitError(f"split.num_folds={num_folds}", expected="at least 2")
    order = np.random.default_rng(seed).permutation(len(values))
    buckets = _balanced(order, _class_counts(manifest, column), num_folds)
    parted = []
    for fold in range(num_folds):
        rest = [v for step in range(1, num_folds) for v in buckets[(fold + step) % num_folds]]
        num_val = math.ceil(val * len(rest)) if val else 0
        if num_val >= len(rest):
            raise SplitError(f"split.val={val} leaves no {column} to train on")
        parts = {values[v]: "train" for v in rest}
        parts |= {values[v]: "val" for v in rest[:num_val]}
        parts |= {values[v]: "test" for v in buckets[fold]}
        parted.append(parts)
    return parted


def _balanced(order: np.ndarray, counts: np.ndarray, num_folds: int) -> list[list[int]]:
    """Deals values to folds, the largest first, each to the fold that has least of its classes."""
    buckets: list[list[int]] = [[] for _ in range(num_folds)]
    if len(order) == num_folds:  # leave one out: the folds stand in the order of the names
        return [[value] for value in range(num_folds)]
    shares = counts / np.maximum(counts.sum(axis=0), 1)  # of each class
    sizes = counts.sum(axis=1)
    dealt, totals = np.zeros((num_folds, counts.shape[1])), np.zeros(num_folds)
    for value in sorted(order, key=lambda v: -sizes[v]):
        overlap = np.round(dealt @ shares[value], 12)
        chosen = int(np.lexsort((totals, overlap))[0])
        buckets[chosen].append(int(value))
        dealt[chosen] += shares[value]
        totals[chosen] += sizes[value]
    return buckets
