"""Two processes do what one does: one folder, every utterance once, the same scores."""

import json
from pathlib import Path

import polars as pl
import pytest

SMALL = [
    "corpus.num_speakers=6",
    "corpus.num_utterances=9",
    "split.test=0.34",
    "split.val=0.3",
    "trainer.max_epochs=2",
    "tracker=none",
]
TWO = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]


def runs() -> list[Path]:
    return sorted(path for path in Path("runs").iterdir() if path.is_dir() and path.name[0] != ".")


def scores(run: Path) -> dict[str, float]:
    return json.loads((run / "run.json").read_text())["scores"]


def test_training_on_two_processes_makes_one_folder(process):
    done = process("run", "experiment=sample/fusion", *SMALL, *TWO)
    assert done.returncode == 0, done.stderr
    (run,) = runs()
    table = pl.read_parquet(run / "predictions/test.parquet")
    assert table["utterance_id"].n_unique() == table.height == 18
    assert (run / "checkpoints/best.ckpt").is_file()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sorted(line["epoch"] for line in lines if "val/uar" in line) == [0, 1]


def test_a_checkpoint_scores_the_same_on_one_and_on_two_processes(process):
    trained = process("run", "experiment=sample/fusion", *SMALL, "trainer.accelerator=cpu")
    assert trained.returncode == 0, trained.stderr
    (run,) = runs()
    one = process("test", str(run), "trainer.accelerator=cpu", "data.max_utterances=5")
    two = process("test", str(run), *TWO, "data.max_utterances=7")
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    first, second = runs()[1:]
    assert scores(first).keys() == scores(second).keys()
    for name, value in scores(first).items():
        assert scores(second)[name] == pytest.approx(value, abs=1e-6)
        assert scores(run)[name] == pytest.approx(value, abs=1e-6)
    tables = [pl.read_parquet(path / "predictions/test.parquet") for path in (first, second)]
    assert tables[1]["utterance_id"].to_list() == tables[0]["utterance_id"].to_list()
    assert tables[1]["utterance_id"].n_unique() == 18


@pytest.mark.slow
def test_values_balanced_draws_and_nested_folds_on_two_processes(process):
    nested = ["split=nested", "split.num_folds=2", "split.num_inner=2", "split.val=0.34"]
    small = [one for one in SMALL if not one.startswith("split")]
    done = process(
        "run",
        "experiment=sample/text",
        *small,
        *nested,
        "selection.grid={optimizer.lr:[0.01,0.0001]}",
        "task=joint",
        *TWO,
    )
    assert done.returncode == 0, done.stderr
    (run,) = runs()
    table = pl.read_parquet(run / "predictions/test.parquet")
    assert table["utterance_id"].n_unique() == table.height == 54
    assert table["target_valence"].null_count() == 0
    for fold in ("0", "1"):
        tried = json.loads((run / "folds" / fold / "selection.json").read_text())["tried"]
        assert len(tried) == 2


def test_balanced_sampling_on_two_processes(process):
    done = process(
        "run", "experiment=sample/text", *SMALL, "task=soft_labels", "data.sampling=balanced", *TWO
    )
    assert done.returncode == 0, done.stderr
    (run,) = runs()
    assert "test/uar" in scores(run)


@pytest.mark.slow
def test_a_fusion_over_stored_embeddings_of_the_last_run_on_two_processes(process):
    """`last` means the same run to both, although the second process starts after a newer one."""
    small = [*SMALL, "model=unimodal", "encoder=[characters]", "paths.store=store"]
    trained = process("run", *small, "trainer.accelerator=cpu")
    assert trained.returncode == 0, trained.stderr
    (source,) = runs()
    two = process("run", *small, "encoder.text.from_run=last", *TWO)
    assert two.returncode == 0, two.stderr
    one = process("run", *small, f"encoder.text.from_run={source.name}", "trainer.accelerator=cpu")
    assert one.returncode == 0, one.stderr
    second, third = runs()[1:]
    origins = [json.loads((run / "run.json").read_text())["encoders"] for run in (second, third)]
    assert origins[0]["text"]["run"] == source.name
    assert origins[0] == origins[1]
    tables = [pl.read_parquet(run / "predictions/test.parquet") for run in (second, third)]
    assert tables[0]["utterance_id"].to_list() == tables[1]["utterance_id"].to_list()
