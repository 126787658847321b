"""Datasets as save_to_disk writes them: classes by name, splits, audio within and beside them."""

import io
import json
import os

import numpy as np
import polars as pl
import pytest
import soundfile

from polymodal.corpora.huggingface import read_dataset
from polymodal.errors import DataError, ManifestError

AUDIO = pl.Struct({"bytes": pl.Binary, "path": pl.String})
EMOTION = {"names": ["anger", "joy"], "_type": "ClassLabel"}
COLUMNS = {"speaker": "who", "label": "emotion", "text": "sentence"}


def sound(number, kind="WAV"):
    data = io.BytesIO()
    soundfile.write(data, np.sin(np.arange(800) * (number + 1) / 50), 16_000, format=kind)
    return data.getvalue()


def cells(count=4, first=0):
    numbers = range(first, first + count)
    kinds = ["FLAC" if number % 2 else "WAV" for number in numbers]
    return {
        "emotion": [number % 2 for number in numbers],
        "sentence": [f"문장 {number}" for number in numbers],
        "who": [number % 3 for number in numbers],
        "audio": [
            {"bytes": sound(number, kind), "path": f"{number}.{kind.lower()}" if number else None}
            for number, kind in zip(numbers, kinds, strict=True)
        ],
        "vector": [[1.0, 2.0]] * count,
    }


def save(folder, data, shards=1, own_split=None, features=None):
    """What save_to_disk of the library writes."""
    folder.mkdir(parents=True, exist_ok=True)
    types = {"audio": AUDIO} if isinstance(next(iter(data.get("audio", [])), None), dict) else {}
    frame = pl.DataFrame(data, schema_overrides=types)
    size = -(-frame.height // shards)
    names = [f"data-{number:05d}-of-{shards:05d}.arrow" for number in range(shards)]
    for number, name in enumerate(names):
        frame[number * size : (number + 1) * size].write_ipc_stream(
            folder / name, compat_level=pl.CompatLevel.oldest()
        )
    state = {"_data_files": [{"filename": name} for name in names], "_split": own_split}
    (folder / "state.json").write_text(json.dumps(state))
    default = {"emotion": EMOTION, "audio": {"decode": False, "_type": "Audio"}}
    info = {"features": default if features is None else features}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return str(folder)


def save_splits(folder, **splits):
    for name, data in splits.items():
        save(folder / name, data)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return str(folder)


def read(root, tmp_path, **options):
    return read_dataset(root, **{"prepared": str(tmp_path / "out"), "columns": COLUMNS} | options)


def files(folder):
    return {path: os.stat(path).st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def check_single(manifest, tmp_path):
    frame = manifest.frame
    assert frame.select("utterance_id", "speaker", "label", "text").rows() == [
        ("data-000000", "0", "anger", "문장 0"),
        ("data-000001", "1", "joy", "문장 1"),
        ("data-000002", "2", "anger", "문장 2"),
        ("data-000003", "0", "joy", "문장 3"),
    ]
    assert manifest.root == tmp_path / "out"
    assert [path.rpartition(".")[2] for path in frame["audio"]] == ["wav", "flac"] * 2
    assert (manifest.root / frame["audio"][1]).read_bytes() == sound(1, "FLAC")
    assert frame["duration_s"].to_list() == [0.05] * 4
    assert manifest.handled == {"column left out: vector": 1}


@pytest.mark.parametrize("shards", [1, 3])
def test_one_dataset(tmp_path, shards):
    check_single(read(save(tmp_path / "set", cells(), shards), tmp_path), tmp_path)


def test_splits_become_a_column(tmp_path):
    root = save_splits(tmp_path / "set", train=cells(3), test=cells(2, 7))
    frame = read(root, tmp_path).frame
    assert frame.select("utterance_id", "split").rows() == [
        ("test-000000", "test"),
        ("test-000001", "test"),
        *((f"train-00000{number}", "train") for number in range(3)),
    ]
    assert frame["audio"].str.split("/").list.first().to_list() == frame["split"].to_list()
    assert len(read(root, tmp_path, where={"split": "test"})) == 2


def test_the_library_itself_writes_the_same(tmp_path):
    datasets = pytest.importorskip("datasets")
    plain = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features(
        {
            "emotion": datasets.ClassLabel(names=EMOTION["names"]),
            "sentence": datasets.Value("string"),
            "who": datasets.Value("int64"),
            "audio": plain,
            "vector": datasets.Sequence(datasets.Value("float32")),
        }
    )
    written = datasets.Dataset.from_dict(cells(), features=features)
    written = written.cast_column("audio", datasets.Audio(decode=False))
    written.save_to_disk(tmp_path / "set", num_shards=2)
    manifest = read(str(tmp_path / "set"), tmp_path)
    check_single(manifest, tmp_path)
    saved_here = read(save(tmp_path / "own", cells()), tmp_path, corpus="set")
    assert saved_here.fingerprint() == manifest.fingerprint()
    datasets.DatasetDict(train=written, test=written).save_to_disk(tmp_path / "sets")
    assert len(read(str(tmp_path / "sets"), tmp_path)) == 8


def test_reading_again_writes_nothing(tmp_path):
    root = save_splits(tmp_path / "set", train=cells(3), test=cells(2, 7))
    first = read(root, tmp_path).fingerprint()
    written = files(tmp_path / "out")
    assert len(written) == 5
    assert read(root, tmp_path).fingerprint() == first
    assert files(tmp_path / "out") == written
    torn = min(written)
    torn.write_bytes(b"RIFF")
    assert read(root, tmp_path).fingerprint() == first
    assert torn.stat().st_size > 4


def test_the_order_of_rows_and_shards_moves_nothing(tmp_path):
    data = cells(5) | {"id": list("abcde")}
    prints = set()
    for shards, step in ((1, 1), (2, -1)):
        turned = {name: values[::step] for name, values in data.items()}
        root = save(tmp_path / f"set{shards}", turned, shards)
        columns = COLUMNS | {"utterance_id": "id"}
        prints.add(read(root, tmp_path, columns=columns, corpus="c").fingerprint())
    assert len(prints) == 1


def test_audio_beside_the_dataset_is_read_where_it_lies(tmp_path):
    root = tmp_path / "set"
    (root / "clips").mkdir(parents=True)
    (root / "clips" / "a.wav").write_bytes(sound(0))
    paths = ["clips/a.wav", str(root / "clips" / "a.wav"), None]
    for audio in (paths, [{"bytes": None, "path": path} for path in paths]):
        manifest = read(save(root, {"audio": audio}), tmp_path, columns=None, speaker="s")
        assert manifest.frame["audio"].to_list() == ["clips/a.wav", "clips/a.wav", None]
        assert manifest.root == root
    assert not (tmp_path / "out").exists()
    for audio in ("../a.wav", "/etc/hostname"):
        with pytest.raises(ManifestError, match="path outside the corpus"):
            read(save(root, {"audio": [audio]}), tmp_path, columns=None, speaker="s")


def test_audio_of_both_kinds_is_refused(tmp_path):
    audio = [{"bytes": sound(0), "path": None}, {"bytes": None, "path": "a.wav"}]
    with pytest.raises(ManifestError, match="some audio in the dataset and some as files"):
        read(save(tmp_path / "set", {"audio": audio}), tmp_path, columns=None, speaker="s")


@pytest.mark.parametrize(
    ("data", "path", "suffix"),
    [
        (b"OggS", None, ".ogg"),
        (b"ID3", "x.wav", ".mp3"),
        (b"?", "x.AIFF", ".aiff"),
        (b"?", "x.a/b", ".audio"),
        (b"?", None, ".audio"),
    ],
)
def test_the_suffix_says_what_the_bytes_are(tmp_path, data, path, suffix):
    root = save(tmp_path / "set", {"audio": [{"bytes": data, "path": path}], "who": ["s"]})
    with pytest.raises(ManifestError, match=rf"unreadable audio: data/[0-9a-f]+\{suffix}"):
        read(root, tmp_path, columns={"speaker": "who"})


def test_classes_become_names_and_no_class_no_label(tmp_path):
    data = {"emotion": [1, -1, None], "who": ["s"] * 3, "label": ["old"] * 3}
    root = save(tmp_path / "set", data, own_split="train[:10%]")
    frame = read(root, tmp_path, columns={"label": "emotion", "speaker": "who"}).frame
    assert frame["label"].to_list() == ["joy", None, None]
    assert frame["split"].unique().to_list() == ["train[:10%]"]
    assert frame["utterance_id"][0] == "data-000000"
    mapped = read(root, tmp_path, columns={"label": "emotion", "speaker": "who"}, speaker="x")
    assert mapped.frame["speaker"].unique().to_list() == ["x"]
    with pytest.raises(ManifestError, match="unknown label: 'joy'"):
        read(root, tmp_path, columns={"label": "emotion", "speaker": "who"}, classes=["sad"])


def test_plain_values_are_kept_as_text_and_our_numbers_as_numbers(tmp_path):
    data = {
        "who": ["s"],
        "utterance_id": [7],
        "valence": [3],
        "take": [True],
        "split": ["dev"],
        "nested": [{"a": 1}],
        "raw": [b"x"],
        "corpus": ["own"],
    }
    manifest = read(save(tmp_path / "set", data), tmp_path, columns={"speaker": "who"})
    columns = ["utterance_id", "corpus", "valence", "take", "split"]
    assert manifest.frame.select(columns).rows() == [("data-000000", "own", 3.0, "true", "dev")]
    assert {"nested", "raw"}.isdisjoint(manifest.frame.columns)
    left_out = ["nested", "raw", "utterance_id"]
    assert manifest.handled == {f"column left out: {name}": 1 for name in left_out}


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ({"text": ["a"]}, {}, "no column for the speaker"),
        ({"speaker": ["a"]}, {"columns": {"text": "txt"}}, "no column 'txt'"),
        ({"speaker": ["a"]}, {"columns": {"txt": "speaker"}}, "did you mean 'text'"),
        ({"speaker": ["a"]}, {"columns": {"votes": "speaker"}}, "corpus.columns.votes"),
        ({"speaker": [[1.0]]}, {"columns": {"speaker": "speaker"}}, "expected: plain values"),
        ({"speaker": ["a"], "id": [3]}, {"columns": {"utterance_id": "id"}}, "expected: text"),
        ({"speaker": ["a"], "audio": [3]}, {"columns": {"audio": "audio"}}, "path of a file"),
        ({"speaker": ["a"], "valence": ["high"]}, {}, "expected: numbers"),
        ({"speaker": ["a"], "emotion": [7]}, {}, "expected: 2 classes"),
    ],
)
def test_what_is_wrong_with_a_column_is_said(tmp_path, data, options, message):
    with pytest.raises(ManifestError, match=message):
        read(save(tmp_path / "set", data), tmp_path, **{"columns": None} | options)


def no_json(folder):
    (folder / "state.json").write_text("{")


def other_json(folder):
    (folder / "state.json").write_text("[]")


def odd_files(folder):
    (folder / "state.json").write_text('{"_data_files": ["a"]}')


def torn(folder):
    path = next(folder.glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "state.json").unlink(), r"(?s)state.json .*save_to_disk"),
        (lambda folder: (folder / "dataset_info.json").unlink(), "dataset_info.json"),
        (no_json, "state.json cannot be read"),
        (other_json, "it is not a mapping"),
        (odd_files, "expected: a list of files"),
        (lambda folder: next(folder.glob("*.arrow")).unlink(), "data-00000-of-00001.arrow"),
        (torn, r"(?s)data-00000-of-00001.arrow cannot be read.*an Arrow stream"),
        (lambda folder: (folder / "dataset_dict.json").write_text("{}"), "names no splits"),
    ],
)
def test_a_damaged_folder_is_said(tmp_path, change, message):
    root = save(tmp_path / "set", cells(1))
    change(tmp_path / "set")
    with pytest.raises(ManifestError, match=message):
        read(root, tmp_path)


def test_names_that_leave_the_folder_are_refused(tmp_path):
    root = save(tmp_path / "set", cells(1))
    save(tmp_path / "other", cells(1))
    state = {"_data_files": [{"filename": "../other/data-00000-of-00001.arrow"}]}
    (tmp_path / "set" / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="leaves the corpus folder"):
        read(root, tmp_path)
    for name in ("../other", "/etc", "", "a/b", 3):
        (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": [name]}))
        with pytest.raises(ManifestError, match="names a split"):
            read(root, tmp_path)
