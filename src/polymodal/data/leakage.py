"""Find what splits have in common: speakers, dialogues, sentences, nearly equal transcripts.

Nearly equal transcripts are found by MinHash (Broder, 1997): texts whose sets of letter trigrams
overlap by `SIMILAR` or more are in the same band of hashes almost surely, and are compared.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from jaxtyping import Int, UInt32

from polymodal.data.folds import Fold
from polymodal.schemas.manifest import Manifest

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


def leakage_report(manifest: Manifest, folds: Sequence[Fold]) -> dict[str, dict[str, float]]:
    """Count what the test split of each fold has in common with the rows trained on.

    `manifest` has the column `transcript`. Returns column to `folds` (how many have something in
    common), `values` and `test_share` (of the worst fold: the number of common values, and the
    fraction of its test rows with one).
    """
    frame = manifest.frame
    folds_splits = [fold.split_of_rows(frame) for fold in folds if fold.assignment]
    grouping = [name for fold in folds for name in fold.assignment]
    report = {}
    for column in dict.fromkeys([*DEFAULT_COLUMNS, *grouping]):
        if column == "utterance_id" or column not in frame.columns:
            continue
        if frame[column].null_count() == 0:
            shared = [_shared(frame[column], splits) for splits in folds_splits]
            worst = max(shared, key=lambda counts: counts[1], default=(0, 0.0))
            report[column] = {
                "folds": sum(values > 0 for values, _ in shared),
                "values": worst[0],
                "test_share": round(worst[1], 4),
            }
    return report


def _shared(values: pl.Series, splits: pl.Series) -> tuple[int, float]:
    trained = values.filter(splits.is_in(["train", "val"])).unique()
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
