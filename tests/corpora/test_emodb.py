"""EmoDB: everything is in the names of the files."""

import numpy as np
import pytest
import soundfile

from polymodal.corpora.emodb import read_emodb
from polymodal.errors import ManifestError


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(1600), 16000)
    return str(folder)


def test_names_say_speaker_sentence_emotion_and_take(tmp_path):
    root = write(tmp_path, "wav/03a01Fa.wav", "flac/16b10Lb.flac")
    frame = read_emodb(root).frame.sort("utterance_id")
    assert frame["utterance_id"].to_list() == ["03a01Fa", "16b10Lb"]
    assert frame["speaker"].to_list() == ["03", "16"]
    assert frame["label"].to_list() == ["happiness", "boredom"]
    assert frame["sentence"].to_list() == ["a01", "b10"]
    assert frame["gender"].to_list() == ["male", "female"]
    assert frame["take"].to_list() == ["a", "b"]
    assert frame["duration_s"].to_list() == [0.1, 0.1]
    assert frame["audio"].to_list() == ["wav/03a01Fa.wav", "flac/16b10Lb.flac"]


@pytest.mark.parametrize("name", ["03a01Xa.wav", "3a01Fa.wav", "noise.wav", "03a01Fa-2.wav"])
def test_strange_names_are_refused_by_name(tmp_path, name):
    root = write(tmp_path, "03a01Fa.wav", name)
    with pytest.raises(ManifestError, match=f"row {name}: unknown file name"):
        read_emodb(root)
    assert read_emodb(root, max_refused=1).rejected_by_rule() == {"unknown file name": 1}


def test_classes_can_be_chosen_and_joined(tmp_path):
    root = write(tmp_path, "03a01Fa.wav", "03a01Wa.wav", "03a01Na.wav")
    joined = read_emodb(root, label_map={"happiness": "high", "anger": "high"})
    assert sorted(joined.frame["label"]) == ["high", "high", "neutral"]
    assert len(read_emodb(root, where={"sentence": "a01"})) == 3


def test_the_real_corpus(test_data):
    manifest = read_emodb(str(test_data / "emodb"))
    counts = dict(manifest.frame["label"].value_counts().iter_rows())
    assert len(manifest) == 535
    assert manifest.frame["speaker"].n_unique() == 10
    assert counts == {
        "anger": 127,
        "boredom": 81,
        "disgust": 46,
        "fear": 69,
        "happiness": 71,
        "neutral": 79,
        "sadness": 62,
    }
