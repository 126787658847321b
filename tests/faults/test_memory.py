"""A device without enough memory: nothing is tried again, and the message says what would fit."""

import json
from pathlib import Path

import pytest
import torch

from polymodal.models.unimodal import UnimodalClassifier
from polymodal.training.oom_advice import memory_advice

RUN = ["experiment=sample/text", "corpus.num_speakers=6", "corpus.num_utterances=4", "tracker=none"]


def test_a_run_out_of_memory_says_what_would_need_less(polymodal, monkeypatch):
    calls = []

    def forward(self, *arguments, **options):
        calls.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(UnimodalClassifier, "forward", forward)
    code, _, error = polymodal("run", *RUN, "data.batch_s=50")
    assert code == 1
    assert "OutOfMemoryError: CUDA out of memory" in error
    assert "data.batch_s=25" in error
    assert "(it was 50)" in error
    assert len(calls) == 1
    (record,) = (json.loads(path.read_text()) for path in Path("runs").glob("*/run.json"))
    assert record["status"] == "failed"
    assert "data.batch_s=25" in record["error"]


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ({}, "a device with more memory"),
        (
            {"data": {"batch_s": 120}, "trainer": {"accumulate_grad_batches": 2}},
            "data.batch_s=60 trainer.accumulate_grad_batches=4 (it was 120)",
        ),
        ({"encoder": {"speech": {"gradient_checkpointing": False}}}, "encoder.speech.gradient"),
        ({"trainer": {"precision": "32-true"}}, "trainer.precision=bf16-mixed"),
    ],
)
def test_the_advice_is_of_this_configuration(config, advice):
    assert advice in memory_advice(torch.OutOfMemoryError(), config)
    assert memory_advice(RuntimeError("out of memory"), config) == ""


def test_what_is_done_already_is_not_advised():
    config = {
        "encoder": {"a": {"gradient_checkpointing": True}, "b": {"freeze": "all"}},
        "trainer": {"precision": "bf16-mixed"},
    }
    assert "device with more memory" in memory_advice(torch.OutOfMemoryError(), config)
