"""Find what splits have in common: speakers, dialogues, sentences, nearly equal transcripts.

Of each of these, and of conditions of the recording, it is also said how well the class can be
guessed from it alone (`confounds.py`).

Nearly equal transcripts are found by MinHash (Broder, 1997): texts whose sets of letter trigrams
overlap by `SIMILAR` or more are in the same band of hashes almost surely, and are compared.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int, UInt32

from polymodal.data.confounds import CONDITIONS, condition_values, guess_from_column
from polymodal.data.folds import Fold
from polymodal.schemas.manifest import SCHEMA, Manifest

SIMILAR = 0.8
# Shorter transcripts (yes, well, really?) are said by everybody and are not evidence of a leak.
MIN_LETTERS = 8
GRAM = 3
NUM_BANDS, ROWS_A_BAND = 8, 4
MAX_CHUNK_LETTERS = 1_000_000
# Of more texts only equal ones are grouped: the start of a run should not take minutes.
MAX_COMPARED = 200_000
COLUMN = "transcript"
DEFAULT_COLUMNS = ("speaker", "dialogue", "sentence", "session", COLUMN)
# Columns that readers add and that are no condition of a recording.
NOT_CONDITIONS = ("split", "label_raw")
# A column of which fewer test rows have a value that was trained on counts as separated.
MIN_SHARE = 0.05


def add_transcript_groups(manifest: Manifest) -> Manifest:
    """Add the column `transcript`: the same for utterances that say nearly the same.

    An utterance without a text of `MIN_LETTERS` letters has its own id there.

    Example:
        >>> from pathlib import Path
        >>> texts = ["What a lovely day!", "what a lovely day", "Something else altogether."]
        >>> frame = pl.DataFrame({"utterance_id": ["a", "b", "c"], "speaker": "s", "text": texts})
        >>> add_transcript_groups(Manifest(frame, Path())).frame["transcript"].n_unique()
        2
    """
    frame = manifest.frame
    if COLUMN in frame.columns:
        return manifest
    groups = transcript_groups(frame["text"])
    group = pl.coalesce(groups.alias(COLUMN), "utterance_id")
    return manifest.take(frame.with_columns(group))


def transcript_groups(texts: pl.Series) -> pl.Series:
    """Return the group of each transcript, null for short or missing texts.

    Nearly equal transcripts have the same group. Its name depends on its texts alone, not on their
    order. Of more than `MAX_COMPARED` texts only those with equal letters are grouped.
    """
    distinct = texts.drop_nulls().unique().alias("text")
    letters = normalise_text(distinct)
    names = letters.filter(letters.str.len_chars() >= MIN_LETTERS).unique().sort().to_list()
    group = _grouped(names)
    leaders = {
        leader: hashlib.sha256(leader.encode()).hexdigest()[:12] for leader in group.values()
    }
    of_letters = {name: leaders[leader] for name, leader in group.items()}
    named = letters.replace_strict(of_letters, default=None, return_dtype=pl.String)
    return texts.replace_strict(distinct, named, default=None, return_dtype=pl.String)


def normalise_text(texts: pl.Series) -> pl.Series:
    """Return the lower-case letters and digits of texts, without punctuation and spaces.

    Example:
        >>> normalise_text(pl.Series(["What a DAY, what a day…"]))[0]
        'whatadaywhataday'
    """
    return texts.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"[\W_]+", "")


def leakage_report(manifest: Manifest, folds: Sequence[Fold]) -> dict[str, dict[str, Any]]:
    """Count what the test split of each fold has in common with the rows trained on.

    Returns what `shared_columns` does.
    """
    splits = [fold.split_of_rows(manifest.frame) for fold in folds if fold.assignment]
    return shared_columns(manifest, splits, [name for fold in folds for name in fold.assignment])


def shared_columns(
    manifest: Manifest, splits: Sequence[pl.Series], groups: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Count what splits share, column by column, and say how well a column tells the class.

    `splits` has the split of each row, fold by fold; `groups` are columns that they separate.
    Returns column to `folds` (how many have something in common), `values` and `test_share` (of the
    worst fold: the number of common values, and the fraction of its test rows with one); where rows
    have labels also `guess_uar` and `chance` (see `ColumnGuess`) and `is_clear`. Conditions of the
    recording and columns of the corpus are only listed where they are clear.
    """
    frame = manifest.frame
    if COLUMN not in frame.columns:
        frame = frame.with_columns(_equal_transcripts(frame["text"]).alias(COLUMN))
    columns = [
        frame[name]
        for name in dict.fromkeys([*DEFAULT_COLUMNS, *groups])
        if name != "utterance_id" and name in frame.columns
    ]
    conditions = [*condition_values(frame), *_other_columns(frame, columns)]
    report = {}
    for values in [*columns, *conditions]:
        is_condition = values.name not in (*DEFAULT_COLUMNS, *groups)
        guess = guess_from_column(values, frame["label"])
        if is_condition and (guess is None or not guess.is_clear):
            continue
        if is_condition or values.null_count() == 0:
            report[values.name] = _counts(values, splits) | ({} if guess is None else guess.facts())
    return report


def equal_audio(manifest: Manifest, fold: Fold) -> pl.DataFrame:
    """Return the test rows of a fold whose audio is byte for byte that of a row trained on.

    Returns:
        `test` and `train`, the ids; empty where the manifest has no hashes of its audio.
    """
    frame = manifest.frame.filter(pl.col("audio_sha256").is_not_null())
    splits = fold.split_of_rows(frame)
    piece = pl.concat_str(
        "audio_sha256", pl.col("start_s", "duration_s").fill_null(0), separator=" "
    )
    rows = frame.select("utterance_id", piece.alias("piece"))
    trained = rows.filter(splits.is_in(["train", "val"])).unique("piece", keep="first")
    shared = rows.filter(splits == "test").join(trained, on="piece", suffix="_of_train")
    return shared.select(test="utterance_id", train="utterance_id_of_train").sort("test", "train")


def confounds(report: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Return a message and a hint for each column that tells the class and that splits share."""
    return {
        column: (_guess_message(column, entry), _guess_hint(column))
        for column, entry in report.items()
        if entry.get("is_clear")
        and entry["test_share"] > MIN_SHARE
        and column in (*DEFAULT_COLUMNS, *CONDITIONS)
    }


def guess_notes(report: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a message for each column that tells the class, whether splits share it or not."""
    return {
        column: _guess_message(column, entry)
        for column, entry in report.items()
        if entry.get("is_clear")
    }


def _guess_message(column: str, entry: Mapping[str, Any]) -> str:
    figure = f"UAR {entry['guess_uar']:.2f}, chance {entry['chance']:.2f}"
    message = f"the class can be guessed from the column {column} alone: {figure}"
    if entry["test_share"]:
        message += f"; {entry['test_share']:.0%} of the test rows share it with training rows"
    return message


def _guess_hint(column: str) -> str:
    compare = "compare the scores with this figure"
    if column not in DEFAULT_COLUMNS:
        return f"{compare}, or record the classes under equal conditions"
    groups = ",".join(dict.fromkeys(["speaker", column]))
    return f"split by it, such as split=k_folds split.groups=[{groups}], or {compare}"


def _other_columns(frame: pl.DataFrame, listed: Sequence[pl.Series]) -> Iterator[pl.Series]:
    """Yield the columns that only this corpus has, but those with a value a class or fewer.

    These repeat the label, be it coarser.
    """
    num_classes = frame["label"].drop_nulls().n_unique()
    names = {*SCHEMA, *CONDITIONS, *NOT_CONDITIONS, *(values.name for values in listed)}
    for name in frame.columns:
        if name not in names and frame[name].n_unique() != frame.height:
            pairs = frame.select(name, "label").drop_nulls().unique()
            if not (pairs.height == num_classes and pairs[name].n_unique() < num_classes):
                yield frame[name]


def _equal_transcripts(texts: pl.Series) -> pl.Series:
    """Return the letters of each transcript; a number of its own where it is short or missing."""
    letters = normalise_text(texts)
    is_long = letters.str.len_chars() >= MIN_LETTERS
    own = pl.int_range(len(texts), eager=True).cast(pl.String)
    return letters.zip_with(is_long.fill_null(False), own)


def _counts(values: pl.Series, splits: Sequence[pl.Series]) -> dict[str, Any]:
    shared = [_shared(values, of_rows) for of_rows in splits]
    worst = max(shared, key=lambda counts: counts[1], default=(0, 0.0))
    return {
        "folds": sum(num_values > 0 for num_values, _ in shared),
        "values": worst[0],
        "test_share": round(worst[1], 4),
    }


def _shared(values: pl.Series, splits: pl.Series) -> tuple[int, float]:
    trained = values.filter(splits.is_in(["train", "val"])).drop_nulls().unique()
    tested = values.filter(splits == "test")
    leaked = tested.is_in(trained.implode())
    return tested.filter(leaked).n_unique(), int(leaked.sum()) / max(1, len(tested))


def _grouped(names: Sequence[str]) -> dict[str, str]:
    """Map each text to the alphabetically first one that is nearly equal to it."""
    if len(names) > MAX_COMPARED:
        return {name: name for name in names}
    leader = list(range(len(names)))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    for first, second in _candidates(names):
        first_leader, second_leader = find(first), find(second)
        if first_leader != second_leader and _similar(names[first], names[second]):
            leader[max(first_leader, second_leader)] = min(first_leader, second_leader)
    return {name: names[find(index)] for index, name in enumerate(names)}


def _similar(first: str, second: str) -> bool:
    first_grams, second_grams = _grams(first), _grams(second)
    return len(first_grams & second_grams) >= SIMILAR * len(first_grams | second_grams)


def _grams(text: str) -> set[str]:
    return {text[start : start + GRAM] for start in range(len(text) - GRAM + 1)}


def _candidates(names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield pairs of texts that share a band of hashes: with the previous one and the first."""
    if not names:
        return
    letters = np.cumsum([len(name) for name in names])
    _, starts = np.unique(letters // MAX_CHUNK_LETTERS, return_index=True)
    chunks = [names[start:stop] for start, stop in pairwise([*starts.tolist(), len(names)])]
    signatures = np.concatenate([_signatures(chunk) for chunk in chunks])
    for band in range(NUM_BANDS):
        rows = signatures[:, band * ROWS_A_BAND : (band + 1) * ROWS_A_BAND]
        keys = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * ROWS_A_BAND)))
        _, inverse, counts = np.unique(keys.ravel(), return_inverse=True, return_counts=True)
        shared = np.flatnonzero(counts[inverse] > 1)
        order = shared[np.argsort(inverse[shared], kind="stable")].tolist()
        first = order[0] if order else 0
        for before, index in pairwise(order):
            if inverse[before] != inverse[index]:
                first = index
                continue
            yield before, index
            if first != before:
                yield first, index


def _signatures(names: Sequence[str]) -> UInt32[np.ndarray, "text hash"]:
    """Return the minimum of each of several hashes over all three-letter grams of each text."""
    codes = np.frombuffer("".join(names).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    lengths: Int[np.ndarray, " text"] = np.array([len(name) for name in names])
    starts = np.cumsum(lengths) - lengths
    grams = codes.copy()
    for step in range(1, GRAM):
        grams[:-step] = grams[:-step] * np.uint64(0x9E3779B97F4A7C15) + codes[step:]
    within = np.ones(len(codes), dtype=bool)
    for step in range(1, GRAM):
        within[starts + lengths - step] = False  # pieces that reach into the next text
    pieces = grams[within]
    first_piece = starts - (GRAM - 1) * np.arange(len(names))
    odd = np.random.default_rng(0).integers(0, 2**63, (2, NUM_BANDS * ROWS_A_BAND), np.uint64)
    smallest = [
        np.minimum.reduceat(((pieces ^ salt) * (2 * factor + 1)) >> np.uint64(32), first_piece)
        for factor, salt in odd.T
    ]
    return np.stack(smallest, axis=1).astype(np.uint32)
