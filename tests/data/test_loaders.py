"""How many processes read ahead: some for a GPU, none on the CPU, or as many as are asked for."""

import pytest

from polymodal.config.compose import compose
from polymodal.experiment.experiment import Experiment

SMALL = ["experiment=sample/text", "corpus.num_speakers=6", "corpus.num_utterances=4"]


@pytest.mark.parametrize(
    ("cores", "devices", "accelerator", "expected"),
    [(16, 1, "gpu", 4), (16, 8, "auto", 1), (1, 1, "gpu", 0), (16, 1, "cpu", 0)],
)
def test_a_gpu_is_read_for_ahead(workplace, monkeypatch, cores, devices, accelerator, expected):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    experiment = Experiment.prepare(
        compose([*SMALL, f"trainer.accelerator={accelerator}"]).resolved()
    )
    loader = experiment.build_loader(experiment.folds[0], "train")
    assert loader.num_workers == experiment.num_workers == expected


@pytest.mark.parametrize(("given", "expected"), [("auto", 0), ("3", 3)])
def test_the_cpu_computes_instead_unless_that_is_asked_for(workplace, given, expected):
    options = ["trainer.accelerator=cpu", f"data.num_workers={given}"]
    experiment = Experiment.prepare(compose([*SMALL, *options]).resolved())
    assert experiment.num_workers == expected


def test_the_processes_share_the_room_for_decoded_audio(workplace):
    config = compose(["experiment=sample/speech", "data.num_workers=2", "data.cache_mb=8"])
    experiment = Experiment.prepare(config.resolved())
    chain = experiment._readers(experiment.folds[0])["speech"]
    assert chain.read.free_bytes == 4_000_000
