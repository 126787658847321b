"""Every task from the command line to its record: fit, test, predict, vote."""

import json
from pathlib import Path

import polars as pl
import pytest

SMALL = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "split.val=0.3",
    "tracker=none",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
]
SCORES = {
    "classification": {"uar", "accuracy"},
    "soft_labels": {"uar", "accuracy"},
    "multilabel": {"macro_f1", "micro_f1", "map"},
    "regression": {"ccc", "ccc_valence", "ccc_arousal", "rmse"},
    "joint": {"uar", "ccc", "ccc_valence"},
}


def last():
    folder = Path("runs") / Path("runs/last").read_text()
    return folder, json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("task", SCORES)
def test_a_task_brings_its_loss_scores_and_monitor(polymodal, task):
    for seed in (0, 1):
        code, _, error = polymodal("run", *SMALL, f"task={task}", f"seed={seed}")
        assert code == 0, error
    run, record = last()
    assert {f"test/{name}" for name in SCORES[task]} <= set(record["scores"])
    assert (run / "checkpoints/best.ckpt").is_file()
    test = pl.read_parquet(run / "predictions/test.parquet")
    told = {column.partition("_")[0] for column in test.columns} & {"logit", "value", "target"}
    assert told == {
        "multilabel": {"value", "target"},
        "regression": {"value", "target"},
        "joint": {"logit", "value", "target"},
    }.get(task, {"logit"})

    assert polymodal("test", "last", "part=val")[0] == 0
    again = last()[1]["scores"]
    for name, value in again.items():
        assert record["scores"][name] == pytest.approx(value, abs=1e-5)
    assert polymodal("predict", str(run), "--out", "all.csv")[0] == 0
    assert pl.read_csv("all.csv").height == 48

    trained = sorted(path for path in Path("runs").glob("*sample-text*") if path.is_dir())[:2]
    code, _, error = polymodal("vote", *map(str, trained), f"scores={task}", "tracker=none")
    assert code == 0, error
    assert {f"test/{name}" for name in SCORES[task]} <= set(last()[1]["scores"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["task=regression", "loss=cross_entropy"], ["is for classification", "loss=regression"]),
        (["task=multilabel", "loss=mse"], ["MeanSquaredError is for regression"]),
        (["loss=kl"], ["SoftCrossEntropy is for soft_labels", "loss=classification"]),
        (["task=regression", "scores=classification"], ["reads classes", "regression"]),
        (["scores=regression"], ["reads values", "classification"]),
        (["task=regression", "task.values=[valance]"], ["no column 'valance'", "'valence'"]),
        (["task=regression", "task.values=[text]"], ["holds text", "numbers"]),
        (["task=regression", "data.sampling=balanced"], ["no single class"]),
        (["data.sampling=balancd"], ["data.sampling=balancd", "'balanced'"]),
        (["data.missing=dropp"], ["'drop'"]),
        (["task.monitor=uarr"], ["monitor=val/uarr", "'val/uar'"]),
        (["task=classificaton"], ["no option 'classificaton'"]),
    ],
)
def test_what_does_not_fit_together_is_refused_before_it_starts(polymodal, overrides, words):
    code, _, error = polymodal("run", *SMALL, *overrides)
    assert code == 2
    assert "Traceback" not in error
    for word in words:
        assert word in error
    assert not Path("runs").exists()


@pytest.mark.parametrize("loss", ["focal", "balanced"])
def test_losses_against_imbalance_run(polymodal, loss):
    assert polymodal("run", *SMALL, f"loss={loss}")[0] == 0


def test_a_library_loss_by_its_dotted_path(polymodal, workplace):
    Path("configs/loss").mkdir(parents=True)
    Path("configs/loss/library.yaml").write_text(
        "_target_: torch.nn.CrossEntropyLoss\nlabel_smoothing: 0.1\n"
    )
    code, _, error = polymodal("run", *SMALL, "loss=library")
    assert code == 0, error


def test_balanced_sampling_runs_for_classes_and_shares(polymodal):
    for task in ("classification", "soft_labels"):
        code, _, error = polymodal("run", *SMALL, f"task={task}", "data.sampling=balanced")
        assert code == 0, error


@pytest.mark.parametrize(("policy", "rows"), [("absent", 48), ("drop", 47)])
def test_utterances_that_lack_a_modality(polymodal, policy, rows):
    both = ["encoder=[characters,signals]", "model=fusion/cross_attention"]
    code, _, error = polymodal("run", *SMALL, *both, f"data.missing={policy}")
    assert code == 0, error
    data = last()[1]["data"]
    assert data["rows"] == rows
    code, _, error = polymodal("run", *SMALL, *both, "data.missing=refuse")
    assert code == 2
    assert "lack a modality" in error
