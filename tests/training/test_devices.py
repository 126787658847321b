"""Devices and strategies."""

import platform

import pytest

from polymodal.errors import ConfigError
from polymodal.training.devices import (
    resolve_accelerator,
    resolve_devices,
    resolve_precision,
    resolve_strategy,
)


@pytest.mark.parametrize(
    ("accelerator", "devices", "expected"),
    [("cpu", -1, 1), ("cpu", "auto", 1), ("cpu", 2, 2), ("gpu", -1, -1), ("gpu", [0, 1], [0, 1])],
)
def test_all_devices_are_one_on_the_cpu(accelerator, devices, expected):
    assert resolve_devices(accelerator, devices) == expected


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_accelerator("auto") == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert resolve_accelerator("auto") == "auto"


@pytest.mark.parametrize(
    ("cuda", "computes_bf16", "small", "expected"),
    [
        (True, True, False, "bf16-mixed"),
        (True, True, True, "32-true"),
        (True, False, False, "32-true"),
        (False, True, False, "32-true"),
    ],
)
def test_bfloat16_is_taken_where_it_is_faster(monkeypatch, cuda, computes_bf16, small, expected):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: computes_bf16)
    assert resolve_precision(None, "gpu", small=small) == expected
    assert resolve_precision(None, "cpu", small=small) == "32-true"
    assert resolve_precision("16-mixed", "gpu", small=small) == "16-mixed"


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


@pytest.mark.parametrize(("devices", "nodes"), [(2, 1), ("2", 1), ([0, 1], 1), (-1, 1), (1, 2)])
def test_with_several_devices_auto_may_leave_parameters_without_a_gradient(
    monkeypatch, devices, nodes
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    chosen = resolve_strategy("auto", "cpu", find_unused=True, devices=devices, num_nodes=nodes)
    assert chosen._ddp_kwargs["find_unused_parameters"]


def test_auto_on_cuda_speaks_nccl(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    strategy = resolve_strategy("ddp", "auto", find_unused=True)
    assert strategy.process_group_backend == "nccl"
