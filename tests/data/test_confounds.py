"""A class that follows from a column is seen; one that does not is not."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from polymodal.data.confounds import condition_values, guess_from_column
from polymodal.data.folds import Fold
from polymodal.data.leakage import confounds, guess_notes, leakage_report
from polymodal.schemas.manifest import Manifest

EMOTIONS = np.array(["anger", "fear", "joy", "neutral", "sadness"])


def guess(values, labels):
    return guess_from_column(pl.Series(values), pl.Series(labels))


def most_speakers_have_one_emotion():
    """29 speakers of 30 rows; three of them have all emotions, each other one has one."""
    speakers = np.repeat(np.arange(29), 30)
    labels = EMOTIONS[np.where(speakers < 26, speakers % 5, np.arange(870) % 5)]
    return [f"s{speaker:02}" for speaker in speakers], labels


def test_speakers_with_one_emotion_tell_it():
    seen = guess(*most_speakers_have_one_emotion())
    assert seen.uar == pytest.approx(26 / 29, abs=0.05)
    assert (seen.chance_level, seen.is_clear) == (0.2, True)


@pytest.mark.parametrize("num_values", [2, 12, 200, 900, 4000])
def test_values_that_say_nothing_are_at_chance(num_values):
    """Also where nearly every value is there once: the row itself is not counted."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        seen = guess(rng.integers(num_values, size=1000), EMOTIONS[rng.integers(5, size=1000)])
        assert seen.uar < 0.28
        assert not seen.is_clear


def test_every_sentence_in_every_emotion_tells_nothing():
    row = np.arange(10 * 5 * 6)
    seen = guess(row % 10, EMOTIONS[row // 10 % 5])
    assert (seen.uar, seen.is_clear) == (seen.chance_level, False)


def test_a_value_that_leaves_two_classes_tells_half():
    row = np.arange(600)
    seen = guess(row % 6 // 2, EMOTIONS[row % 6 - row % 6 // 5])
    assert seen.uar == pytest.approx(0.6, abs=0.06)
    assert seen.is_clear


def test_a_few_rows_are_no_evidence():
    assert not guess(list("aabb"), ["joy", "joy", "fear", "fear"]).is_clear


def test_the_larger_class_is_no_better_guess():
    """Recall is averaged over classes: a value with as many rows of all as others tells nothing."""
    labels = ["neutral"] * 900 + ["joy"] * 100
    seen = guess([row % 4 for row in range(1000)], labels)
    assert (seen.uar, seen.is_clear) == (0.5, False)


def test_durations_are_compared_in_bins():
    duration_s = np.concatenate([np.linspace(1, 2, 50), np.linspace(5, 9, 50)])
    frame = pl.DataFrame({"duration_s": [*duration_s, None]})
    (bins,) = condition_values(frame)
    assert bins.drop_nulls().value_counts()["count"].to_list() == [10] * 10
    seen = guess_from_column(bins, pl.Series(["fear"] * 50 + ["sadness"] * 51))
    assert (seen.uar, seen.is_clear) == (1.0, True)


def test_nothing_is_said_of_one_value_one_class_or_no_label():
    assert guess(["a"] * 4, ["joy", "fear"] * 2) is None
    assert guess(list("abab"), ["joy"] * 4) is None
    assert (
        guess_from_column(pl.Series(list("abab")), pl.Series([None] * 4, dtype=pl.String)) is None
    )


@pytest.fixture
def corpus():
    """The speaker tells the class; other columns have the microphone, and the label again."""
    speakers, labels = most_speakers_have_one_emotion()
    frame = pl.DataFrame(
        {
            "utterance_id": [f"u{row}" for row in range(len(labels))],
            "speaker": speakers,
            "microphone": [
                f"m{EMOTIONS.searchsorted(label) // 2}{row % 2}" for row, label in enumerate(labels)
            ],
            "valence_shown": ["+" if label == "joy" else "-" for label in labels],
            "label": labels,
        }
    )
    return Manifest(frame, Path())


def test_a_warning_names_the_column_only_where_splits_share_it(corpus):
    ids, speakers = corpus.frame["utterance_id"], corpus.frame["speaker"].unique().sort()
    at_random = {name: "test" if row % 4 == 0 else "train" for row, name in enumerate(ids)}
    by_speaker = {name: "test" if row % 4 == 0 else "train" for row, name in enumerate(speakers)}

    report = leakage_report(corpus, [Fold(0, {"utterance_id": at_random})])
    assert (round(report["speaker"]["guess_uar"], 1), report["speaker"]["chance"]) == (0.9, 0.2)
    ((message, hint),) = confounds(report).values()
    assert message == (
        "the class can be guessed from the column speaker alone: UAR 0.90, chance 0.20; "
        "100% of the test rows share it with training rows"
    )
    assert "split=k_folds split.groups=[speaker]" in hint
    assert [*guess_notes(report)] == ["speaker", "microphone"]

    report = leakage_report(corpus, [Fold(0, {"speaker": by_speaker})])
    assert not confounds(report)
    assert report["speaker"]["is_clear"]


def test_transcripts_that_say_the_class_and_are_in_both_splits(corpus):
    texts = [f"I feel {label} on this lovely day" for label in corpus.frame["label"]]
    manifest = corpus.take(corpus.frame.with_columns(text=pl.Series(texts)))
    by_speaker = {name: "test" if name < "s09" else "train" for name in manifest.frame["speaker"]}
    report = leakage_report(manifest, [Fold(0, {"speaker": by_speaker})])
    ((message, hint),) = confounds(report).values()
    assert "transcript alone: UAR 1.00" in message
    assert "split.groups=[speaker,transcript]" in hint
