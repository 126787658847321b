"""Precomputed features: three kinds of source say the same, and nothing bad gets through."""

import io
import os
import pickle
import shutil
import zipfile

import numpy as np
import polars as pl
import pytest
import soundfile

from polymodal.corpora.precomputed.corpus import read_features
from polymodal.data.signals import SignalReader
from polymodal.errors import DataError, ManifestError

TABLE = "utterance_id,speaker,label\na,s1,joy\nb,s1,anger\nc,s2,joy\n"
SEQUENCES = {
    "a": np.arange(6, dtype=np.float64).reshape(3, 2),
    "b": np.array([[7, 8]], dtype=np.int16),
    "c": np.arange(4, dtype=np.float16).reshape(2, 2) / 4,
}
VECTORS = {name: array[0].astype(np.float32) for name, array in SEQUENCES.items()}


def table(folder, text=TABLE):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.csv").write_text(text)
    return str(folder)


def as_folder(root, arrays, name="face"):
    (root / name).mkdir(parents=True, exist_ok=True)
    for name_of_array, array in arrays.items():
        (root / name / name_of_array).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / name / f"{name_of_array}.npy", array)
    return name


def as_archive(root, arrays):
    np.savez(root / "face.npz", **arrays)
    return "face.npz"


def as_compressed(root, arrays):
    np.savez_compressed(root / "face.npz", **arrays)
    return "face.npz"


def as_lists(root, arrays):
    lists = [array.tolist() for array in arrays.values()]
    pl.DataFrame({"utterance_id": [*arrays], "face": lists}).write_parquet(root / "face.parquet")
    return "face.parquet"


def as_columns(root, arrays):
    columns = np.stack([*arrays.values()]).T
    frame = pl.DataFrame({"utterance_id": [*arrays]} | {f"f{k}": c for k, c in enumerate(columns)})
    frame.write_parquet(root / "face.parquet")
    return "face.parquet"


def read(root, face, **options):
    prepared = {"prepared": str(root.parent / "out")}
    return read_features(str(root), **{"modalities": {"face": face}} | prepared | options)


def values(manifest, name="face"):
    reader = SignalReader(manifest.signals_root or manifest.root)
    rows = [manifest.utterance(row) for row in range(len(manifest))]
    return {row.utterance_id: (reader(row) or {}).get(name, (None,))[0] for row in rows}


def check(arrays, expected):
    assert [*arrays] == [*expected]
    for name, array in expected.items():
        assert arrays[name].dtype == np.float32
        np.testing.assert_array_equal(arrays[name], np.atleast_2d(array))


def files(folder):
    return {path: os.stat(path).st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path):
    table(tmp_path / "set")
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("write", "arrays"),
    [
        (as_folder, SEQUENCES),
        (as_archive, SEQUENCES),
        (as_compressed, SEQUENCES),
        (as_lists, SEQUENCES),
        (as_folder, VECTORS),
        (as_archive, VECTORS),
        (as_lists, VECTORS),
        (as_columns, VECTORS),
    ],
)
def test_every_kind_of_source_gives_the_same_values(root, write, arrays):
    manifest = read(root, write(root, arrays), rates_hz={"face": 25.0}, classes=["joy", "anger"])
    check(values(manifest), arrays)
    assert manifest.frame["label"].to_list() == ["joy", "anger", "joy"]
    assert manifest.frame["corpus"].unique().to_list() == ["set"]
    assert {manifest.utterance(row).signals["face"].rate_hz for row in range(3)} == {25.0}
    assert not manifest.handled


def test_sequences_in_files_stay_where_they_lie(root):
    before = files(root)
    manifest = read(root, as_folder(root, SEQUENCES, "deep/face"))
    reference = manifest.utterance(0).signals["face"]
    assert (reference.path, reference.start, reference.length) == ("deep/face/a.npy", 0, 3)
    assert reference.rate_hz is None
    assert manifest.signals_root is None
    assert not (root.parent / "out").exists()
    assert before.items() <= files(root).items()


def test_one_modality_to_prepare_takes_the_others_along(root):
    names = {"voice": as_folder(root, VECTORS, "voice"), "face": as_folder(root, SEQUENCES)}
    manifest = read(root, "", modalities=names)
    check(values(manifest, "voice"), VECTORS)
    check(values(manifest, "face"), SEQUENCES)
    assert manifest.signals_root == root.parent / "out"
    suffixes = sorted(path.suffix for path in files(root.parent / "out"))
    assert suffixes == [".json", ".json", ".npy", ".npy"]


@pytest.mark.parametrize("write", [as_folder, as_archive, as_lists, as_columns])
def test_reading_again_writes_nothing_and_new_bytes_are_seen(root, write):
    face = write(root, VECTORS)
    first = read(root, face).fingerprint()
    written = files(root.parent / "out")
    assert len(written) == 2
    assert read(root, face).fingerprint() == first
    assert files(root.parent / "out") == written
    write(root, VECTORS | {"a": np.full(2, 9, np.float32)})
    changed = read(root, face)
    assert changed.fingerprint() != first
    assert values(changed)["a"].tolist() == [[9, 9]]
    write(root, VECTORS)
    for path in files(root.parent / "out"):
        path.write_bytes(path.read_bytes()[:-1])
    check(values(read(root, face)), VECTORS)


@pytest.mark.parametrize(
    ("write", "arrays"),
    [
        (as_folder, SEQUENCES),
        (as_folder, VECTORS),
        (as_archive, SEQUENCES),
        (as_lists, SEQUENCES),
        (as_columns, VECTORS),
    ],
)
def test_the_order_in_which_things_lie_moves_nothing(root, write, arrays):
    first = read(root, write(root, arrays)).fingerprint()
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    lines = TABLE.splitlines()
    table(root, "\n".join([lines[0], *lines[:0:-1]]))
    turned = dict(reversed(arrays.items()))
    assert read(root, write(root, turned)).fingerprint() == first


def test_packed_features_do_not_depend_on_the_source(root):
    prints = {
        read(root, write(root, VECTORS)).fingerprint()
        for write in (as_folder, as_archive, as_lists, as_columns)
    }
    assert len(prints) == 1


@pytest.mark.parametrize("write", [as_folder, as_archive, as_lists])
def test_what_lacks_a_modality_lacks_it_and_is_counted(root, write):
    arrays = {"a": SEQUENCES["a"], "c": np.zeros((0, 2)), "x": SEQUENCES["b"]}
    manifest = read(root, write(root, arrays))
    assert [*values(manifest).values()][1:] == [None, None]
    assert manifest.handled == {
        "no face": 2,
        "face of an utterance that is not in the table": 1,
    }
    assert len(manifest) == 3


def test_ids_with_folders_and_filters_of_the_table(root):
    table(root, TABLE.replace("\na,", "\njoy/a,"))
    face = as_folder(root, {"joy/a": SEQUENCES["a"], "c": SEQUENCES["c"], ".d": SEQUENCES["a"]})
    manifest = read(root, face, where={"label": "joy"}, label_map={"joy": "happy"})
    assert manifest.frame["label"].to_list() == ["happy", "happy"]
    assert values(manifest)["joy/a"].shape == (3, 2)
    assert sorted(manifest.handled.values()) == [1, 2]  # one row left out, two labels mapped


BAD = {
    "other feature size": (np.zeros((2, 3)), "'b' has 3 features, most have 2"),
    "features that are not finite": (np.array([[1.0, np.nan]]), "'b' holds NaN"),
    "other shape": (np.zeros((1, 1, 2)), r"the shape is \(1, 1, 2\)"),
}


@pytest.mark.parametrize(
    ("write", "rule"),
    [
        *((write, rule) for write in (as_folder, as_archive) for rule in BAD),
        *((as_lists, rule) for rule in BAD if rule != "other shape"),  # a column has one type
    ],
)
def test_bad_arrays_are_refused_by_name(root, write, rule):
    array, reason = BAD[rule]
    face = write(root, SEQUENCES | {"b": array})
    with pytest.raises(ManifestError, match=f"(?s)1 rows were rejected.*row b: {rule}: face: "):
        read(root, face)
    for _ in range(2):  # the second time from what was written the first time
        manifest = read(root, face, max_refused=1)
        assert manifest.rejected_by_rule() == {rule: 1}
        assert [*values(manifest)] == ["a", "c"]
        with pytest.raises(ManifestError, match=reason):
            read(root, face)


def test_too_large_for_float32_is_no_number(root):
    manifest = read(root, as_folder(root, SEQUENCES | {"b": np.full((1, 2), 1e39)}), max_refused=1)
    assert manifest.rejected_by_rule() == {"features that are not finite": 1}


def test_refusals_of_table_and_features_count_together(root):
    table(root, TABLE + "d,,joy\n")
    face = as_folder(root, SEQUENCES | {"b": np.zeros((2, 3))})
    with pytest.raises(ManifestError, match="2 rows were rejected"):
        read(root, face, max_refused=1)
    assert len(read(root, face, max_refused=2)) == 2


class Planted:
    """What must never be unpickled."""

    def __reduce__(self):
        return os.mkdir, ("planted",)


def npy(array):
    data = io.BytesIO()
    np.save(data, array, allow_pickle=True)
    return data.getvalue()


def npz():
    data = io.BytesIO()
    np.savez(data, b=np.ones((1, 2)))
    return data.getvalue()


UNREADABLE = {
    "objects": (npy(np.array([Planted(), None], dtype=object)), "Python objects"),
    "pickle": (pickle.dumps(Planted()), "magic string"),
    "words": (npy(np.array(["a", "b"])), "<U1, not numbers"),
    "complex": (npy(np.ones((1, 2), complex)), "complex128, not numbers"),
    "torn": (npy(np.ones((9, 2)))[:-1], "more than there is"),
    "header": (npy(np.ones((1, 2)))[:40], "EOF"),
    "brackets": (npy(np.ones((1, 2))).replace(b"(1, 2)", b"((1, 2"), "header is damaged"),
    "archive": (npz(), "magic string"),
    "empty": (b"", "EOF"),
    "future": (npy(np.ones((1, 2))).replace(b"NUMPY\x01", b"NUMPY\x09"), "version"),
    "negative": (npy(np.ones((1, 2))).replace(b"(1, 2)", b"(-1,2)"), "more than there is"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("source", ["folder", "archive"])
def test_pickles_and_damaged_arrays_are_refused_and_never_run(
    root, tmp_path, monkeypatch, kind, source
):
    monkeypatch.chdir(tmp_path)
    data, reason = UNREADABLE[kind]
    if source == "folder":
        face = as_folder(root, SEQUENCES)
        (root / face / "b.npy").write_bytes(data)
    else:
        face = as_archive(root, {"a": SEQUENCES["a"], "c": SEQUENCES["c"]})
        with zipfile.ZipFile(root / face, "a") as archive:
            archive.writestr("b.npy", data)
    with pytest.raises(ManifestError, match=f"(?s)row b: unreadable array: face: 'b': .*{reason}"):
        read(root, face)
    assert [*values(read(root, face, max_refused=1))] == ["a", "c"]
    assert not (tmp_path / "planted").exists()


def test_a_damaged_member_is_refused(root):
    face = as_archive(root, SEQUENCES)
    data = bytearray((root / face).read_bytes())
    position = data.index(SEQUENCES["b"].tobytes())
    data[position] ^= 1
    (root / face).write_bytes(data)
    with pytest.raises(ManifestError, match=r"row b: unreadable array: face: 'b': Bad CRC"):
        read(root, face)


def test_a_bomb_is_refused_before_anything_is_unpacked(root, monkeypatch):
    np.savez_compressed(root / "face.npz", a=np.zeros((1000, 2000)), b=np.ones(2))
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    with pytest.raises(ManifestError, match=r"(?s)'a.npy' grows from \d+ to 16000128 bytes"):
        read(root, "face.npz")
    with pytest.raises(ManifestError, match=r"(?s)becomes 0.0 GB.*at most 0.001 GB .corpus.max_gb"):
        read(root, "face.npz", max_gb=0.001)


@pytest.mark.parametrize("name", ["../b.npy", "/b.npy", "x/../../b.npy", "..\\b.npy", "C:b.npy"])
def test_names_in_an_archive_that_leave_the_folder_are_refused(root, name):
    face = as_archive(root, SEQUENCES)
    with zipfile.ZipFile(root / face, "a") as archive:
        archive.writestr(name, npy(np.ones((1, 2))))
    with pytest.raises(ManifestError, match="leads out of the folder"):
        read(root, face)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(root):
    face = as_archive(root, SEQUENCES)
    with zipfile.ZipFile(root / face, "a") as archive:
        archive.writestr("b.npy", npy(np.ones((1, 2))))
    with pytest.raises(ManifestError, match=r"'b.npy' 2 times"):
        read(root, face)


def test_links_that_leave_the_folder_are_refused(root):
    face = as_folder(root, SEQUENCES)
    (root / face / "b.npy").rename(root.parent / "b.npy")
    (root / face / "b.npy").symlink_to(root.parent / "b.npy")
    with pytest.raises(ManifestError, match="leaves the corpus folder"):
        read(root, face)
    (root / face / "a.npy").write_bytes(npy(VECTORS["a"]))
    assert [*values(read(root, face, max_refused=1))] == ["a", "c"]
    for path in ("../out", "/etc"):
        with pytest.raises(DataError, match="leaves the corpus folder"):
            read(root, path)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"utterance_id": ["a"]}, "has the columns"),
        ({"id": ["a"], "x": [1.0]}, "has the columns"),
        ({"utterance_id": ["a"], "x": [1.0], "y": [[1.0]]}, "has the columns"),
        ({"utterance_id": ["a"], "x": [[1.0]], "y": [[1.0]]}, "has the columns"),
        ({"utterance_id": ["a"], "x": [1.0], "y": ["joy"]}, "either one column of lists"),
        ({"utterance_id": ["a"], "x": [["joy"]]}, "has the columns"),
        ({"utterance_id": ["a"], "x": [[[[1.0]]]]}, "has the columns"),
        ({"utterance_id": ["a", "a"], "x": [1.0, 2.0]}, "not unique"),
        ({"utterance_id": ["a", None], "x": [1.0, 2.0]}, "is empty"),
        ({"utterance_id": ["a"], "x": [[[1.0], [1.0, 2.0]]]}, "its vectors differ in length"),
        ({"utterance_id": ["a"], "x": [[[1.0], None]]}, "its vectors differ in length"),
        ({"utterance_id": ["a"], "x": [[1.0, None]]}, "holds NaN"),
        ({"utterance_id": ["a"], "x": [1.0], "y": [float("inf")]}, "holds NaN"),
    ],
)
def test_what_is_wrong_with_a_parquet_is_said(root, frame, message):
    pl.DataFrame(frame).write_parquet(root / "face.parquet")
    with pytest.raises(ManifestError, match=message):
        read(root, "face.parquet")


@pytest.mark.parametrize("shape", [(2,), (3, 2)])
def test_a_parquet_may_have_arrays_and_numbers_as_ids(root, shape):
    table(root, "utterance_id,speaker\n1,s\n2,s\n")
    arrays = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape)
    pl.DataFrame({"utterance_id": [1, 2], "x": arrays}).write_parquet(root / "face.parquet")
    check(values(read(root, "face.parquet")), {"1": arrays[0], "2": arrays[1]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": {}}, "corpus.modalities="),
        ({"modalities": {"a/b": "face"}}, "names of letters"),
        ({"modalities": {"face": "none"}}, "corpus.modalities.face: .*none is missing"),
        ({"modalities": {"face": "manifest.csv"}}, "of an unknown kind"),
        ({"modalities": {"face": "bad.npz"}}, "bad.npz cannot be read"),
        ({"modalities": {"face": "bad.parquet"}}, "bad.parquet cannot be read"),
        ({"rates_hz": {"fase": 1.0}}, "did you mean 'face'"),
        ({"rates_hz": {"face": 0.0}}, "above 0"),
        ({"file": "none.csv"}, "there is no file"),
        ({"columns": {"utterance_id": "speaker"}, "where": {"label": "anger"}}, "(?s)'a', .*'s1'"),
    ],
)
def test_what_is_wrong_with_the_options_is_said(root, options, message):
    face = as_folder(root, SEQUENCES)
    for name in ("bad.npz", "bad.parquet"):
        (root / name).write_bytes(pickle.dumps(Planted()))
    with pytest.raises(ManifestError, match=message):
        read(root, face, **{"speaker": "s"} | options)


def test_a_table_with_signals_of_its_own_is_refused(root):
    face = as_folder(root, SEQUENCES)
    head, *rows = TABLE.splitlines()
    text = "\n".join([f"{head},signal_eda,signal_eda_rate_hz", *(f"{row},e.npy,4" for row in rows)])
    table(root, text)
    with pytest.raises(ManifestError, match="signals of its own"):
        read(root, face)


def test_the_table_has_segments_and_a_folder_of_audio(root):
    """The options of `corpus=table` for audio are those of features, too."""
    (root / "wavs").mkdir()
    soundfile.write(root / "wavs/long.wav", np.zeros(32_000), 16_000)
    table(root, "utterance_id,speaker,audio,from,to\na,s1,long.wav,0,0.5\nb,s2,long.wav,0.5,\n")
    named = {"start_s": "from", "end_s": "to"}
    options = {"columns": named, "audio_prefix": "wavs", "open_end": True}
    manifest = read(root, as_folder(root, SEQUENCES), **options)
    assert manifest.frame["audio"].to_list() == ["wavs/long.wav"] * 2
    assert manifest.frame["duration_s"].to_list() == [0.5, 1.5]
    with pytest.raises(ManifestError, match="open_end=true"):
        read(root, "face", **options | {"open_end": False})
