"""The sample is what its docstring says: seeded, whole, and with known ceilings."""

import hashlib
import itertools
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from polymodal.corpora.sample import (
    AROUSED,
    CEILINGS,
    CLASSES,
    P_MISSING,
    P_SHOWN,
    bayes_accuracy,
    read_sample,
)
from polymodal.data.signals import SignalReader
from polymodal.errors import ManifestError

SMALL = {"num_speakers": 4, "num_utterances": 8}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return read_sample(str(tmp_path_factory.mktemp("sample")))


def digest(manifest):
    files = sorted(path for path in manifest.root.rglob("*") if path.suffix in (".flac", ".npy"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first, second = (read_sample(str(tmp_path / name), **SMALL) for name in "ab")
    assert first.fingerprint() == second.fingerprint()
    assert digest(first) == digest(second)
    changed = read_sample(str(tmp_path / "a"), **SMALL, seed=1)
    assert changed.fingerprint() != first.fingerprint()


def test_it_is_as_large_as_promised(sample):
    assert sample.frame["speaker"].n_unique() >= 12
    assert len(sample) >= 600
    assert set(sample.frame["label"]) == set(CLASSES)
    assert sample.frame["label"].value_counts()["count"].n_unique() == 1


def test_modalities_are_missing_as_often_as_promised_and_never_two(sample):
    is_missing = sample.frame.select(
        pl.col("audio").is_null(), pl.col("text").is_null(), pl.col("signals").list.len() == 0
    )
    fractions = np.array([is_missing[name].mean() for name in is_missing.columns])
    assert np.abs(fractions - P_MISSING).max() < 0.025
    assert is_missing.sum_horizontal().max() == 1


def test_modalities_tell_the_wrong_thing_as_often_as_promised(sample):
    frame = sample.frame
    aroused = frame["label"].is_in(list(AROUSED)).cast(pl.String)
    wrong = (frame["shown_arousal"].str.to_lowercase() != aroused).mean()
    assert wrong == pytest.approx(1 - P_SHOWN["speech"], abs=0.035)


def test_every_signal_lies_inside_its_file(sample):
    read = SignalReader(sample.root)
    for row in range(0, len(sample), 37):
        for values, rate_hz in (read(sample.utterance(row)) or {}).values():
            assert len(values) > 3
            assert np.isfinite(values).all()
            assert rate_hz in (4.0, None)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_ceilings_are_those_of_the_best_possible_decision(count):
    """Draws what each modality would tell, and decides by the most probable class."""
    rng = np.random.default_rng(0)
    num = 60_000
    arousal, valence = rng.random(num) < 0.5, rng.random(num) < 0.5
    truth = {"speech": arousal, "physiology": arousal, "text": valence}
    shown = {
        name: np.where(rng.random(num) < P_SHOWN[name], truth[name], ~truth[name])
        for name in P_SHOWN
    }
    absent = rng.choice([*P_SHOWN, ""], num, p=[*[P_MISSING] * 3, 1 - 3 * P_MISSING])
    for modalities in itertools.combinations(P_SHOWN, count):
        belief = {True: np.zeros(num), False: np.zeros(num)}  # log odds of valence, of arousal
        for name in modalities:
            odds = np.log(P_SHOWN[name] / (1 - P_SHOWN[name]))
            belief[name == "text"] += np.where(
                absent == name, 0, np.where(shown[name], odds, -odds)
            )
        guesses = [
            np.where(probability == 0, rng.random(num) < 0.5, probability > 0)
            for probability in (belief[False], belief[True])
        ]
        right = ((guesses[0] == arousal) & (guesses[1] == valence)).mean()
        assert right == pytest.approx(bayes_accuracy(modalities), abs=0.006)
    assert CEILINGS["all"] == bayes_accuracy(list(P_SHOWN))


def test_two_processes_may_generate_at_once(tmp_path):
    code = (
        "import sys; from polymodal.corpora.sample import read_sample\n"
        "print(read_sample(sys.argv[1], num_speakers=4, num_utterances=8).fingerprint())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in "ab"
    ]
    prints = {process.communicate(timeout=120)[0] for process in both}
    assert len(prints) == 1
    assert all(process.returncode == 0 for process in both)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["v1.1-4x8-seed0"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ManifestError, match=r"cannot be written .*(?s:.*)paths.cache"):
        read_sample(str(tmp_path / "file"), **SMALL)


def probe(features, labels, speakers):
    """Accuracy on new speakers of a simple model that nobody tuned."""
    linear = pytest.importorskip("sklearn.linear_model")
    pipeline = pytest.importorskip("sklearn.pipeline")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    right = 0
    for test in np.array_split(np.unique(speakers), 4):
        held = np.isin(speakers, test)
        model = pipeline.make_pipeline(
            preprocessing.StandardScaler(), linear.LogisticRegression(max_iter=2000, C=0.1)
        )
        model.fit(features[~held], labels[~held])
        right += (model.predict(features[held]) == labels[held]).sum()
    return right / len(labels)


def test_words_carry_valence_and_nothing_else(sample):
    frame = sample.frame.filter(pl.col("text").is_not_null())
    vocabulary = sorted({word for text in frame["text"] for word in text.split()})
    bag = np.array(
        [[word in text.split() for word in vocabulary] for text in frame["text"]], dtype=float
    )
    labels, speakers = frame["label"].to_numpy(), frame["speaker"].to_numpy()
    arousal = np.isin(labels, list(AROUSED))
    valence = np.isin(labels, ["happiness", "contentment"])
    assert probe(bag, valence, speakers) == pytest.approx(P_SHOWN["text"], abs=0.05)
    assert probe(bag, arousal, speakers) == pytest.approx(0.5, abs=0.07)
