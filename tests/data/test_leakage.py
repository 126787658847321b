"""Leaks: nearly equal transcripts are found, and what parts share is counted."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.data import leakage
from polymodal.data.folds import Fold
from polymodal.data.leakage import (
    add_transcript_groups,
    equal_audio,
    leakage_report,
    normalise_text,
    transcript_groups,
)
from polymodal.schemas.manifest import Manifest

LONG = "오늘 아침에 동생이 보낸 편지는 정말 마음에 들었어요"


def groups(*texts):
    return transcript_groups(pl.Series(texts, dtype=pl.String)).to_list()


@pytest.mark.parametrize(
    "text",
    [
        LONG + ".",
        LONG.replace(" ", ""),
        f"  {LONG}!? ",
        LONG.replace("들었어요", "들었어"),
        "그래 " + LONG,
    ],
)
def test_what_is_nearly_the_same_is_one_group(text):
    first, second, third = groups(LONG, text, "전혀 다른 이야기를 길게 하고 있습니다")
    assert first == second != third


def test_short_ones_and_missing_ones_are_nobodys():
    assert groups("네", "네", None, "", "yes yes", "!!!!!!!!!!!!") == [None] * 6


def test_half_of_a_sentence_is_another_sentence():
    first, second = groups(LONG, LONG[: len(LONG) // 2])
    assert first != second


@given(st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_names_depend_on_the_texts_alone(order):
    texts = [LONG, LONG + "!", "something else entirely", LONG.replace("아침", "저녁"), "third one"]
    plain, mixed = groups(*texts), groups(*(texts[index] for index in order))
    assert [plain[index] for index in order] == mixed


def test_beyond_the_limit_equal_letters_are_still_found(monkeypatch):
    monkeypatch.setattr(leakage, "MAX_COMPARED", 1)
    first, second, near = groups(LONG, LONG.upper() + "…", "그래 " + LONG)
    assert first == second != near


def test_letters_are_counted_not_bytes():
    assert normalise_text(pl.Series(["\uff21\u3000\uff42\uff11_!"]))[0] == "ab1"


@pytest.fixture
def corpus():
    rows = [
        {"utterance_id": "a", "speaker": "s1", "dialogue": "d1", "text": LONG},
        {"utterance_id": "b", "speaker": "s1", "dialogue": "d2", "text": "something else here"},
        {"utterance_id": "c", "speaker": "s2", "dialogue": "d1", "text": LONG + "!"},
        {"utterance_id": "d", "speaker": "s2", "dialogue": "d3", "text": None},
        {"utterance_id": "e", "speaker": "s3", "dialogue": "d3", "text": "네"},
    ]
    return add_transcript_groups(Manifest(pl.DataFrame(rows), Path()))


def test_what_test_shares_with_what_is_learnt_is_counted(corpus):
    folds = [
        Fold(0, {"speaker": {"s1": "train", "s2": "test", "s3": "val"}}),
        Fold(1, {"speaker": {"s1": "train", "s2": "train", "s3": "test"}}),
    ]
    report = leakage_report(corpus, folds)
    assert report["speaker"] == {"folds": 0, "values": 0, "test_share": 0}
    assert report["dialogue"] == {"folds": 2, "values": 2, "test_share": 1}
    assert report["transcript"] == {"folds": 1, "values": 1, "test_share": 0.5}


def test_without_folds_there_is_nothing_to_leak(corpus):
    report = leakage_report(corpus, [Fold(0, {})])
    assert report["speaker"] == {"folds": 0, "values": 0, "test_share": 0}


def test_equal_audio_in_test_and_training_is_found_by_its_hash(corpus):
    spans = {"start_s": [0.0, 0.0, 1.0, None, None], "duration_s": [1.0, 1.0, 1.0, None, None]}
    hashes = {"audio_sha256": ["x", "y", "x", "y", None]}
    manifest = corpus.take(corpus.frame.with_columns(pl.DataFrame({**spans, **hashes})))
    fold = Fold(0, {"speaker": {"s1": "train", "s2": "test", "s3": "test"}})
    assert equal_audio(manifest, fold).is_empty()  # another piece of a file is other audio
    whole = manifest.take(manifest.frame.with_columns(start_s=None, duration_s=None))
    assert equal_audio(whole, fold).rows() == [("c", "a"), ("d", "b")]
    assert equal_audio(corpus, fold).is_empty()
