"""The folder of a corpus is found under the names in which it is handed out."""

import warnings

import pytest
from benchmarks.kemdy_tree import write_kemdy19, write_kemdy20

from polymodal.config.compose import compose
from polymodal.corpora.emodb import EMODB
from polymodal.corpora.kemdy import KEMDY19, KEMDY20, read_kemdy20
from polymodal.corpora.locating import CorpusFolder, find_folder, find_folder_of
from polymodal.errors import ManifestError


def make(folder, *names):
    for name in names:
        (folder / name / "annotation").mkdir(parents=True)
        (folder / name / "annotation/Sess01_eval.csv").write_text("")


@pytest.mark.parametrize(
    "name", ["KEMDy20_v1_1", "KEMDy20_v1_2", "KEMDy20", "kemdy20", "Kemdy20-v2"]
)
def test_every_name_is_found_below_the_folder_of_all_corpora(tmp_path, name):
    make(tmp_path, name, "KEMDy19_v1_3", "KEMDy200", "KEMDy20_old")
    assert find_folder(str(tmp_path), KEMDY20) == tmp_path / name
    assert find_folder(str(tmp_path), KEMDY19) == tmp_path / "KEMDy19_v1_3"


def test_a_named_folder_is_taken_as_it_is(tmp_path):
    make(tmp_path, "KEMDy20_v1_1", "KEMDy20_v1_2", "renamed")
    for name in ("KEMDy20_v1_1", "renamed"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert find_folder(str(tmp_path / name), KEMDY20) == tmp_path / name


def test_the_newest_version_is_taken_and_the_others_are_named(tmp_path):
    make(tmp_path, "KEMDy20", "KEMDy20_v1_2", "KEMDy20_v1_10")
    with pytest.warns(UserWarning, match="v1_10, the newest.*ignored: KEMDy20_v1_2, KEMDy20 "):
        assert find_folder(str(tmp_path), KEMDY20) == tmp_path / "KEMDy20_v1_10"


def test_two_folders_of_one_version_are_refused(tmp_path):
    make(tmp_path, "KEMDy20_v1_2", "KEMDy20_v1.2")
    with pytest.raises(ManifestError, match=r"several folders.*KEMDy20_v1_2") as caught:
        find_folder(str(tmp_path), KEMDY20)
    assert "corpus.root=" in caught.value.hint


def test_an_archive_that_unpacks_into_its_own_name_is_found(tmp_path):
    make(tmp_path, "KEMDy20_v1_1/KEMDy20_v1_1")
    assert find_folder(str(tmp_path), KEMDY20) == tmp_path / "KEMDy20_v1_1/KEMDy20_v1_1"


def test_a_missing_folder_is_looked_for_beside_it_unless_a_version_was_asked_for(tmp_path):
    make(tmp_path, "kemdy20_v1_1")
    assert find_folder(str(tmp_path / "KEMDy20"), KEMDY20) == tmp_path / "kemdy20_v1_1"
    with pytest.raises(ManifestError, match=r"there is no folder .*KEMDy20_v1_2"):
        find_folder(str(tmp_path / "KEMDy20_v1_2"), KEMDY20)


def test_the_error_says_what_was_looked_for_and_what_is_there(tmp_path):
    (tmp_path / "KEMDy20_v1_1").mkdir()  # without the annotation
    (tmp_path / "emodb").mkdir()
    with pytest.raises(ManifestError) as caught:
        find_folder(str(tmp_path), KEMDY20)
    assert "no folder of KEMDy20" in caught.value.message
    assert "has KEMDy20_v1_1, emodb" in caught.value.message
    assert "annotation/*.csv" in caught.value.expected
    assert "named KEMDy20 (a version may follow)" in caught.value.expected
    assert "paths.data=FOLDER" in caught.value.hint


def test_emodb_is_found_in_any_spelling_and_may_lie_anywhere(tmp_path):
    wav = tmp_path / "data/EmoDB/wav"
    wav.mkdir(parents=True)
    (wav / "03a01Fa.wav").write_bytes(b"")
    for root in ("data", "data/EmoDB", "data/emodb"):
        assert find_folder(str(tmp_path / root), EMODB) == tmp_path / "data/EmoDB"
    (tmp_path / "other/deep/er").mkdir(parents=True)
    assert find_folder(str(tmp_path / "other"), EMODB) == tmp_path / "other"


def test_a_table_is_found_in_the_folder_of_its_corpus(tmp_path):
    (tmp_path / "EmotionTTS_ko").mkdir()
    (tmp_path / "EmotionTTS_ko/list.csv").write_text("")
    for root in (tmp_path, tmp_path / "emotiontts_ko", tmp_path / "EmotionTTS_ko"):
        folder = find_folder_of("list.csv", str(root), "emotiontts_ko")
        assert folder == tmp_path / "EmotionTTS_ko"
    assert find_folder_of("none.csv", str(tmp_path), "nobody") == tmp_path
    (tmp_path / "list[1].csv").write_text("")
    assert find_folder_of("list[1].csv", str(tmp_path), "emotiontts_ko") == tmp_path


def test_no_name_finds_nothing_by_its_version(tmp_path, monkeypatch):
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1/list.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    assert str(find_folder_of("list.csv", ".", None)) == "."
    assert CorpusFolder("x", ("",)).parse_version("v1") is None


def test_both_corpora_are_read_from_one_folder(polymodal, tmp_path):
    data = tmp_path / "data"
    write_kemdy19(data, sessions=1)
    write_kemdy20(data, sessions=1)
    (data / "KEMDy19").rename(data / "KEMDy19_v1_3")
    for name, rows in (("kemdy19", 40), ("kemdy20", 24)):
        code, output, error = polymodal("corpus", name, str(data))
        assert code == 0, error
        assert f"{rows} utterances" in output


@pytest.mark.parametrize("name", ["kemdy19", "kemdy20"])
def test_the_folder_of_all_corpora_is_where_an_experiment_looks(workplace, name):
    config = compose([f"experiment={name}/physiology", "paths.data=DATA"]).resolved()
    assert config["corpus"]["root"] == "DATA"


def test_the_folder_of_the_manifest_is_the_one_that_was_found(tmp_path):
    tree = write_kemdy20(tmp_path, sessions=1)
    manifest = read_kemdy20(str(tmp_path), prepared=str(tmp_path / "cut"))
    assert manifest.root == tree
