"""Every task from the command line to its record: fit, test, predict, vote."""

import json
from pathlib import Path

import polars as pl
import pytest
from tests.conftest import newest_run

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
    """Return folder and record of what the last command made, of any kind."""
    folder = newest_run()
    return folder, json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("task", SCORES)
def test_a_task_brings_its_loss_scores_and_monitor(polymodal, task):
    trained = []
    for seed in (0, 1):
        code, _, error = polymodal("run", *SMALL, f"task={task}", f"seed={seed}")
        assert code == 0, error
        trained.append(last()[0])
    run, record = last()
    assert {f"test/{name}" for name in SCORES[task]} <= set(record["scores"])
    assert (run / "checkpoints/best.ckpt").is_file()
    test = pl.read_parquet(run / "predictions/test.parquet")
    told = {column.partition("_")[0] for column in test.columns}
    assert told & {"logit", "probability", "value", "target"} == {
        "multilabel": {"value", "probability", "target"},
        "regression": {"value", "target"},
        "joint": {"logit", "probability", "value", "target"},
    }.get(task, {"logit", "probability"})

    assert polymodal("test", "last", "evaluate_on=val")[0] == 0
    again = last()[1]["scores"]
    for name, value in again.items():
        assert record["scores"][name] == pytest.approx(value, abs=1e-5)
    assert polymodal("predict", str(run), "--out", "all.csv")[0] == 0
    assert pl.read_csv("all.csv").height == 48

    code, _, error = polymodal("vote", *map(str, trained), f"scores={task}", "tracker=none")
    assert code == 0, error
    assert {f"test/{name}" for name in SCORES[task]} <= set(last()[1]["scores"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["task=regression", "loss=cross_entropy"], ["is for classification", "loss=regression"]),
        (["task=multilabel", "loss=mse"], ["MeanSquaredError is for regression"]),
        (["loss=kl"], ["SoftCrossEntropy is for soft_labels", "loss=classification"]),
        (["task=regression", "scores=classification"], ["reads classes", "scores=regression"]),
        (["scores=regression"], ["ConcordanceCorrelation reads values", "scores=classification"]),
        (["task=regression", "task.spread=0"], ["task.spread=0"]),
        (["callbacks.checkpoint.mode=min"], ["callbacks.checkpoint.mode=max"]),
        (["+optimizer.betas=[{_target_:os.makedirs,name:marker},0.9]"], ["not allowed"]),
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


def test_the_epoch_is_chosen_by_the_direction_of_the_score(polymodal):
    options = ["task=regression", "task.monitor=rmse", "trainer.max_epochs=4", "optimizer.lr=0.5"]
    assert polymodal("run", *SMALL, *options)[0] == 0
    run, record = last()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    by_epoch = [line["val/rmse"] for line in lines if "val/rmse" in line]
    assert record["scores"]["val/rmse"] == pytest.approx(min(by_epoch), abs=1e-4)
    assert min(by_epoch) < max(by_epoch) - 1e-3


def test_a_run_of_an_older_version_is_applied_with_what_it_lacks_by_default(polymodal):
    import yaml

    assert polymodal("run", *SMALL)[0] == 0
    run, _ = last()
    config = yaml.safe_load((run / "config.yaml").read_text())
    for key in ("text", "selection"):
        del config[key]
    for key in ("sampling", "missing", "store_dtype"):
        del config["data"][key]
    del config["paths"]["store"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    code, _, error = polymodal("test", str(run))
    assert code == 0, error
    (run / "config.yaml").write_text("a: 1\na: 2\n")
    code, _, error = polymodal("test", str(run))
    assert code == 2
    assert "cannot be read" in error


@pytest.mark.parametrize("change", ["data.sampling=balanced", "data.max_utterances=3"])
def test_a_run_does_not_go_on_with_other_data(polymodal, change):
    assert polymodal("run", *SMALL)[0] == 0
    assert polymodal("run", *SMALL, "resume=last", "data.cache_mb=1")[0] == 0
    code, _, error = polymodal("run", *SMALL, "resume=last", change)
    assert code == 2
    assert "another configuration" in error
