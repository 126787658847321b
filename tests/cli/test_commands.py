"""The commands one after another, as a user has them."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.conftest import newest_run

SMALL = ["corpus.num_speakers=6", "corpus.num_utterances=8", "split.val=0.3", "tracker=none"]
SHORT = [*SMALL, "trainer.max_epochs=1", "trainer.accelerator=cpu"]


def record():
    """Return folder and record of what the last command made, of any kind."""
    folder = newest_run()
    return folder, read_record(folder)


def trained(polymodal, experiment, *options):
    code, _, error = polymodal("run", f"experiment=sample/{experiment}", *SHORT, *options)
    assert code == 0, error
    return record()


@pytest.fixture(scope="module")
def text_run(tmp_path_factory, polymodal_in):
    """A run that several tests look at; none of them changes it."""
    folder = tmp_path_factory.mktemp("text")
    code, _, error = polymodal_in(folder, "run", "experiment=sample/text", *SHORT)
    assert code == 0, error
    return folder / "runs" / (folder / "runs" / "last").read_text()


def read_record(run):
    return json.loads((run / "run.json").read_text())


def test_a_run_ends_with_its_scores(text_run):
    trained = read_record(text_run)
    assert trained["status"] == "finished"
    scores = {"test/uar", "test/accuracy", "test/macro_f1", "test/weighted_f1"}
    assert scores <= set(trained["scores"])


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml",
        "overrides.txt",
        "environment.txt",
        "code.diff",
        "metrics.jsonl",
        "checkpoints/best.ckpt.sha256",
    ],
)
def test_a_run_folder_has_what_reproduces_it(text_run, name):
    assert (text_run / name).is_file()


def test_a_run_is_tested_on_another_split(polymodal, text_run):
    assert polymodal("test", str(text_run), "evaluate_on=val")[0] == 0
    _, tested = record()
    assert tested["parent"] == text_run.name
    trained = read_record(text_run)
    assert tested["scores"]["val/uar"] == pytest.approx(trained["scores"]["val/uar"], abs=1e-6)


def test_every_row_is_predicted_into_a_file(polymodal, text_run):
    assert polymodal("predict", str(text_run), "--out", "out/all.csv")[0] == 0
    assert pl.read_csv("out/all.csv").height == 48


def test_an_unknown_ending_is_refused_before_anything_is_predicted(polymodal, text_run):
    code, _, error = polymodal("predict", str(text_run), "--out", "all.xls")
    assert code == 2
    assert "--out all.xls" in error
    assert ".jsonl" in error


def test_a_vote_of_two_runs_covers_their_rows(polymodal, text_run):
    speech, _ = trained(polymodal, "speech")
    code, out, error = polymodal("vote", str(text_run), speech.name, "tracker=none")
    assert code == 0, error
    assert "vote finished" in out
    folder, vote = record()
    assert vote["name"] == "soft vote of text and speech"
    assert vote["data"]["members"] == [text_run.name, speech.name]
    joined = pl.read_parquet(folder / "predictions/test.parquet")
    members = [pl.read_parquet(run / "predictions/test.parquet") for run in (text_run, speech)]
    rows = [set(table["utterance_id"]) for table in (joined, *members)]
    assert rows[0] == rows[1] == rows[2]


def test_predicting_unlabelled_data_with_every_folds_model(polymodal, workplace):
    run, _ = trained(polymodal, "text", "split=k_folds", "split.num_folds=2")
    assert sorted(path.name for path in (run / "folds").iterdir()) == ["0", "1"]
    Path("new.csv").write_text("utterance_id,speaker,text\nn1,x,좋아요\nn2,x,싫어요\n")
    data = ["corpus=table", "corpus.root=.", "corpus.file=new.csv"]
    code, _, error = polymodal("predict", run.name, *data)
    assert code == 0, error
    table = pl.read_parquet(record()[0] / "predictions/predict.parquet")
    assert table["utterance_id"].to_list() == ["n1", "n2"]
    assert table["label"].null_count() == 2
    Path("new.csv").write_text("text\n좋아요\n싫어요\n")  # neither ids nor speakers
    code, _, error = polymodal("predict", run.name, *data)
    assert code == 0, error
    assert pl.read_parquet(record()[0] / "predictions/predict.parquet").height == 2
    code, _, error = polymodal("test", run.name, "split.num_folds=3")
    assert code == 2
    assert "2 trained folds" in error


def test_each_fold_is_tested_by_the_model_that_did_not_see_it(polymodal):
    run, made = trained(polymodal, "text", "split=leave_one_out")
    table = pl.read_parquet(run / "predictions/test.parquet")
    assert table.height == table["utterance_id"].n_unique() == 48
    assert table["fold"].n_unique() == 6
    for path in run.glob("folds/*/run.json"):
        fold = json.loads(path.read_text())
        held_out = table.filter(pl.col("fold") == fold["fold"])["utterance_id"].str.head(3)
        assert set(held_out) == set(fold["notes"]["assignment"]["speaker"])
    assert made["data"]["folds"] == 6


def test_a_class_weighted_smoothed_accumulated_run(polymodal):
    options = ["loss=balanced", "loss.label_smoothing=0.1", "trainer.accumulate_grad_batches=2"]
    trained(polymodal, "text", *options, "optimizer=sgd", "scheduler=constant", "scores=extended")
    assert {"test/kappa", "test/mcc"} <= set(record()[1]["scores"])


def test_a_sweep_is_a_run_for_each_value(process):
    done = process("run", "experiment=sample/text", *SHORT, "-m", "seed=0,1")
    assert done.returncode == 0, done.stderr
    records = [json.loads(path.read_text()) for path in Path("runs").glob("*/run.json")]
    assert sorted(one["seed"] for one in records) == [0, 1]
    assert len({one["run_id"] for one in records}) == 2
    head, _, *rows = done.stdout.splitlines()[-4:]
    assert "test/uar" in head
    assert [row.split()[0] for row in rows] == sorted(one["run_id"] for one in records)


@pytest.mark.slow
def test_a_sweep_says_which_job_failed(process):
    done = process("run", "experiment=sample/text", *SHORT, "-m", "split.test=0.2,2")
    assert done.returncode == 2
    assert "split.test=2" in done.stderr
    assert len(list(Path("runs").glob("*/run.json"))) == 1


def test_the_config_can_be_printed(process):
    done = process("run", "experiment=sample/text", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "max_epochs: 16" in done.stdout
    assert process("run", "seeed=1", "--cfg", "job").returncode == 2


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from polymodal.cli.main import main\n"
        "for words in (['--help'], ['run', '--help'], ['predict', '--help']):\n"
        "    try: main(words)\n"
        "    except SystemExit: pass\n"
        "print(sorted({'torch', 'hydra', 'polars', 'numpy', 'rich'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_without_an_argument_the_sample_is_run(polymodal, monkeypatch):
    asked = []
    monkeypatch.setattr("polymodal.runs.train.run_experiment", lambda one, _: asked.append(one))
    assert polymodal("run")[0] == 0
    assert [one.name for one in asked] == ["sample/fusion"]


@pytest.mark.parametrize("ensemble", ["product", "weighted", "calibrated", "greedy"])
def test_votes_that_are_fitted_on_validation_say_what_they_did(polymodal, ensemble):
    members = [str(trained(polymodal, name)[0]) for name in ("text", "physiology")]
    code, out, error = polymodal("vote", *members, f"ensemble={ensemble}", "tracker=none")
    assert code == 0, error
    _, made = record()
    assert "test/uar" in made["scores"]
    assert (made["notes"]["ensemble"] == []) is (ensemble == "product") or ensemble == "calibrated"
    for words in made["notes"]["ensemble"]:
        assert words in out
    for member in members:
        (Path(member) / "predictions" / "val.parquet").unlink()
    code, _, error = polymodal("vote", *members, f"ensemble={ensemble}", "tracker=none")
    assert code == (0 if ensemble == "product" else 2)
    assert ensemble == "product" or "no predictions for split 'val'" in error
