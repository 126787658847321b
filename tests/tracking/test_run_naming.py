"""What runs are called: what differs, in words, and never as another run."""

import subprocess
import sys

import pytest

from polymodal.tracking.run_naming import describe_overrides, project_name, unique_run_name


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["experiment=emodb/egemaps", "optimizer.lr=1e-4", "model.num_layers=4"],
            "lr=1e-4 layers=4",
        ),
        (["seed=3", "paths.runs=/tmp/x", "tracker=wandb", "resume=last"], "seed=3"),
        (["corpus.root=/home/somebody/data", "trainer.devices=2", "data.num_workers=4"], ""),
        (["encoder=[hubert, klue_roberta]"], "encoder=hubert+klue_roberta"),
        (["optimizer.lr=1", "optimizer.lr=2"], "lr=2"),
        (["a.dropout=0", "b.dropout=1"], "a.dropout=0 b.dropout=1"),
        (["model.token=hf_abcdefgh12345678", "+model.api_key='a b'", "seed=1"], "seed=1"),
        (["+model.note='x\x1b[31m\n/../y'"], "note=x?31m/../y"),
        (["model.note=" + "y" * 500], "note=" + "y" * 39 + "…"),
        (["~callbacks.early_stopping"], "early_stopping=none"),
    ],
)
def test_the_words_say_what_differs(overrides, words):
    assert describe_overrides(overrides) == words


def test_the_project_is_the_model_and_the_corpus():
    assert project_name({"model": "fusion/cross_attention", "corpus": "emodb"}) == (
        "cross_attention-emodb"
    )
    assert "/" not in project_name({"model": "../x", "corpus": "a/../b\n"})


def test_no_two_runs_have_one_name(tmp_path):
    names = [unique_run_name(tmp_path, "p", "lr=1e-4") for _ in range(3)]
    assert names == ["lr=1e-4", "lr=1e-4 (2)", "lr=1e-4 (3)"]
    assert unique_run_name(tmp_path, "other", "lr=1e-4") == "lr=1e-4"
    assert unique_run_name(tmp_path, "p", "a\x00b/../" + "c" * 1000).isprintable()


def test_no_two_processes_give_one_name(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from polymodal.tracking.run_naming import unique_run_name\n"
        "print('\\n'.join(unique_run_name(Path(sys.argv[1]), 'p', 'x') for _ in range(50)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "runs")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = [name for one in both for name in one.communicate(timeout=60)[0].splitlines()]
    assert len(names) == len(set(names)) == 100


def test_a_folder_that_cannot_be_written_is_not_the_name_s_business(tmp_path):
    (tmp_path / "runs").write_text("a file")
    assert unique_run_name(tmp_path / "runs", "p", "x") == "x"
