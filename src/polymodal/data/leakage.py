"""What the parts of a fold share: speakers, dialogues, sentences, and nearly equal transcripts.

Nearly equal transcripts are found by MinHash (Broder, 1997): texts whose sets of three letters in a
row overlap by `SIMILAR` or more fall into the same band of hashes almost surely, and are compared.
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
# Shorter transcripts (yes, well, really?) are said by everybody and tell nothing of a leak.
MIN_LETTERS = 8
GRAM = 3
NUM_BANDS, ROWS_A_BAND = 8, 4
LETTERS_AT_ONCE = 1_000_000
# Of more texts than this only equal ones are grouped: the start of a run should not take minutes.
MAX_COMPARED = 200_000
COLUMN = "transcript"
DEFAULT_COLUMNS = ("speaker", "dialogue", "sentence", "session", COLUMN)


def add_transcript_groups(manifest: Manifest) -> Manifest:
    """Adds the column `transcript`: the same for utterances that say nearly the same.

    Args:
        manifest: The corpus.

    Returns:
        The corpus; an utterance without a text of `MIN_LETTERS` letters has its own id.

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
    own = pl.coalesce(groups.alias(COLUMN), "utterance_id")
    return manifest.take(frame.with_columns(own))


def transcript_groups(texts: pl.Series) -> pl.Series:
    """Groups transcripts that are nearly equal.

    Args:
        texts: Text or null.

    Returns:
        A name of the group, made from its texts alone, so that it is the same in another order and
        on another day; null for short texts. Of more than `MAX_COMPARED` texts only those are
        grouped whose letters are equal.
    """
    distinct = texts.drop_nulls().unique().alias("text")
    letters = normalise_text(distinct)
    names = letters.filter(letters.str.len_chars() >= MIN_LETTERS).unique().sort().to_list()
    group = _grouped(names)
    hashed = {one: hashlib.sha256(one.encode()).hexdigest()[:12] for one in set(group.values())}
    of_letters = {name: hashed[leader] for name, leader in group.items()}
    named = letters.replace_strict(of_letters, default=None, return_dtype=pl.String)
    return texts.replace_strict(distinct, named, default=None, return_dtype=pl.String)


def normalise_text(texts: pl.Series) -> pl.Series:
    """Returns the letters and digits of texts, small, without signs and spaces.

    Args:
        texts: The texts.

    Returns:
        What is left of each.

    Example:
        >>> normalise_text(pl.Series(["What a DAY, what a day…"]))[0]
        'whatadaywhataday'
    """
    return texts.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"[\W_]+", "")


def leakage_report(manifest: Manifest, folds: Sequence[Fold]) -> dict[str, dict[str, float]]:
    """Counts what the test part of each fold shares with what it learns from.

    Args:
        manifest: The corpus, with the column `transcript`.
        folds: The folds.

    Returns:
        Column to `folds` (how many share something), `values` and `test_share` (of the worst fold:
        how many values are shared, and the share of its test rows that have one of them).
    """
    frame = manifest.frame
    parted = [fold.split_of_rows(frame) for fold in folds if fold.assignment]
    split = [name for fold in folds for name in fold.assignment]
    columns = [name for name in dict.fromkeys([*DEFAULT_COLUMNS, *split]) if name != "utterance_id"]
    report = {}
    for column in columns:
        if column in frame.columns and frame[column].null_count() == 0:
            found = [_shared(frame[column], parts) for parts in parted]
            worst = max(found, key=lambda one: one[1], default=(0, 0.0))
            report[column] = {
                "folds": sum(values > 0 for values, _ in found),
                "values": worst[0],
                "test_share": round(worst[1], 4),
            }
    return report


def _shared(values: pl.Series, parts: pl.Series) -> tuple[int, float]:
    learnt = values.filter(parts.is_in(["train", "val"])).unique()
    tested = values.filter(parts == "test")
    leaked = tested.is_in(learnt.implode())
    return tested.filter(leaked).n_unique(), int(leaked.sum()) / max(1, len(tested))


def _grouped(names: Sequence[str]) -> dict[str, str]:
    """Each text to the first, in alphabetical order, of those that are nearly equal to it."""
    if len(names) > MAX_COMPARED:
        return {name: name for name in names}
    leader = list(range(len(names)))

    def find(place: int) -> int:
        while leader[place] != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    for first, second in _candidates(names):
        one, other = find(first), find(second)
        if one != other and _similar(names[first], names[second]):
            leader[max(one, other)] = min(one, other)
    return {name: names[find(place)] for place, name in enumerate(names)}


def _similar(first: str, second: str) -> bool:
    one, other = _grams(first), _grams(second)
    return len(one & other) >= SIMILAR * len(one | other)


def _grams(text: str) -> set[str]:
    return {text[place : place + GRAM] for place in range(len(text) - GRAM + 1)}


def _candidates(names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of texts that share a band of hashes: each with the one before it, and the first."""
    if not names:
        return
    signatures = np.concatenate([_signatures(chunk) for chunk in _chunks(names)])
    for band in range(NUM_BANDS):
        rows = signatures[:, band * ROWS_A_BAND : (band + 1) * ROWS_A_BAND]
        keys = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * ROWS_A_BAND)))
        _, inverse, counts = np.unique(keys.ravel(), return_inverse=True, return_counts=True)
        shared = np.flatnonzero(counts[inverse] > 1)
        order = shared[np.argsort(inverse[shared], kind="stable")].tolist()
        first = order[0] if order else 0
        for before, place in pairwise(order):
            if inverse[before] != inverse[place]:
                first = place
                continue
            yield before, place
            if first != before:
                yield first, place


def _chunks(names: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    letters = 0
    for name in names:
        chunk.append(name)
        letters += len(name)
        if letters > LETTERS_AT_ONCE:
            yield chunk
            chunk, letters = [], 0
    if chunk:
        yield chunk


def _signatures(names: Sequence[str]) -> UInt32[np.ndarray, "text hash"]:
    """The smallest of each of several hashes over all three-letter pieces of each text."""
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
