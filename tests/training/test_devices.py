"""Devices and strategies."""

import platform

import pytest

from polymodal.errors import ConfigError
from polymodal.training.devices import resolve_accelerator, resolve_devices, resolve_strategy


@pytest.mark.parametrize(
    ("accelerator", "devices", "wanted"),
    [("cpu", -1, 1), ("cpu", "auto", 1), ("cpu", 2, 2), ("gpu", -1, -1), ("gpu", [0, 1], [0, 1])],
)
def test_all_devices_are_one_on_the_cpu(accelerator, devices, wanted):
    assert resolve_devices(accelerator, devices) == wanted


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_accelerator("auto") == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert resolve_accelerator("auto") == "auto"


@pytest.mark.parametrize(
    ("accelerator", "system", "backend"),
    [("gpu", "Linux", "nccl"), ("gpu", "Windows", "gloo"), ("cpu", "Linux", "gloo")],
)
def test_the_backend_chooses_itself(monkeypatch, accelerator, system, backend):
    monkeypatch.setattr(platform, "system", lambda: system)
    strategy = resolve_strategy("ddp", accelerator, find_unused=True)
    assert strategy.process_group_backend == backend
    assert strategy._ddp_kwargs["find_unused_parameters"]


def test_dp_is_refused_and_ddp_named():
    with pytest.raises(ConfigError, match=r"use trainer.strategy=ddp"):
        resolve_strategy("dp", "gpu", find_unused=False)
    assert resolve_strategy("auto", "cpu", find_unused=False) == "auto"
