"""The experiment that this program began with, whole, on synthetic KEMDy trees. `make soak`."""

import json
from pathlib import Path

import pytest

SHARED = "study.shared=[trainer.max_epochs=1,trainer.precision=32,data.extract_workers=0{}]"
TWO = ",trainer.devices=2,trainer.strategy=ddp,trainer.accelerator=cpu"


@pytest.mark.slow
@pytest.mark.parametrize(("corpus", "processes"), [("kemdy19", TWO), ("kemdy20", "")])
def test_it_runs_with_one_command(
    process, small_kemdy, small_models, monkeypatch, corpus, processes
):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = process(
        "study",
        f"study={corpus}/first_experiment",
        f"paths.data={small_kemdy}",
        "tracker=[wandb]",
        SHARED.format(processes),
        f"study.with.speech=[encoder.speech.name={small_models / 'hubert'}]",
        f"study.with.text=[encoder.text.name={small_models / 'roberta'}]",
        timeout_s=1800,
    )
    assert done.returncode == 0, done.stderr
    folder = Path("runs") / Path("runs/last").read_text()
    found = json.loads((folder / "study.json").read_text())
    assert {*found["members"]} == {"speech", "text", "in_fold", "held_out", "soft", "calibrated"}
    runs = {one["key"]: one["run"] for one in found["cells"]}
    for cell in found["cells"]:
        record = json.loads((Path("runs") / cell["run"] / "run.json").read_text())
        taken = {name: one["run"] for name, one in record["encoders"].items()}
        assert taken == {name: runs[key] for name, key in cell["encoders"].items()}
        assert all(len(one["digests"]) == 5 for one in record["encoders"].values())
        assert [*(Path("runs") / cell["run"] / "wandb").glob("offline-run-*")]
    described = found["members"]["held_out"]["embeddings"]
    assert {*described} == {"speech", "text"}
