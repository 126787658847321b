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
NEEDS = {"egemaps": "opensmile", "compare": "opensmile", "resemblyzer": "resemblyzer"}


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


def test_none_is_overlooked():
    assert len(NAMES) == len(set(NAMES)) == 12
    assert {name.split("/")[0] for name in NAMES} == {"sample", "emodb"}


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
def test_it_runs(polymodal, small_emodb, name):
    for word, package in NEEDS.items():
        if word in name and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    options = ["debug=fast"]
    if name.startswith("emodb"):
        options += [f"corpus.root={small_emodb}", "data.extract_workers=0"]
    else:
        options += ["corpus.num_speakers=6", "corpus.num_utterances=8"]
    code, _, error = polymodal("run", f"experiment={name}", *options)
    assert code == 0, error
    (record,) = Path("runs").glob("*/run.json")
    scores = json.loads(record.read_text())["scores"]
    main = "ccc" if name == "sample/valence_arousal" else "uar"
    assert -1 <= scores[f"test/{main}"] <= 1
