"""Losses and schedules against hand calculation."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from polymodal.errors import ConfigError
from polymodal.training.losses import CrossEntropy
from polymodal.training.optimizers import constant, cosine_with_warmup, parameter_groups
from polymodal.training.tasks import Classification


def test_unlabelled_utterances_do_not_count():
    logits = torch.randn(4, 3, requires_grad=True)
    loss = CrossEntropy("abc", [1, 1, 1])
    half = loss(logits[:2], torch.tensor([0, 2]))
    full = loss(logits, torch.tensor([0, 2, -1, -1]))
    torch.testing.assert_close(half, full)
    nothing = loss(logits, torch.full((4,), -1))
    nothing.backward()
    assert nothing == 0
    assert torch.isfinite(logits.grad).all()


def test_balanced_weights_make_rare_classes_count_as_much():
    loss = CrossEntropy("abc", [8, 2, 0], class_weights="balanced")
    assert loss.weights.tolist() == pytest.approx([10 / 16, 10 / 4, 0])
    named = CrossEntropy("ab", [1, 1], class_weights={"b": 3, "a": 1})
    assert named.weights.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"angr": 1}, "did you mean 'anger'"), ({"anger": 1}, "lacks"), ("equal", "none, balanced")],
)
def test_weights_that_name_no_class_are_refused(shape_checks_off, weights, message):
    with pytest.raises(ConfigError, match=message):
        CrossEntropy(["anger", "joy"], [1, 1], class_weights=weights)


def test_label_smoothing_is_torchs():
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    expected = nn.functional.cross_entropy(logits, targets, label_smoothing=0.2)
    torch.testing.assert_close(
        CrossEntropy("abc", [1] * 3, label_smoothing=0.2)(logits, targets), expected
    )


def rates(schedule_of, steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = schedule_of(optimizer, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_warmup_rises_and_the_cosine_falls_to_the_floor():
    seen = rates(lambda o, n: cosine_with_warmup(o, n, warmup=0.1, floor=0.2), 100)
    assert seen[0] == pytest.approx(1 / 11)
    assert max(seen) == seen[10] == 1
    assert seen[55] == pytest.approx(0.2 + 0.8 * 0.5)
    assert seen[-1] == pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi * 89 / 90)))
    assert rates(constant, 5) == [1] * 5
    with pytest.raises(ConfigError, match="warmup=2"):
        cosine_with_warmup(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), 10, warmup=2)


def test_vectors_are_not_decayed_and_frozen_parameters_left_out():
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    module[2].requires_grad_(False)
    decayed, plain = parameter_groups(module)
    assert [p.shape for p in decayed["params"]] == [(3, 2)]
    assert plain["weight_decay"] == 0
    assert len(plain["params"]) == 3


def test_a_task_needs_two_different_classes():
    assert Classification(["b", "a"]).classes == ("b", "a")
    for classes in (["a"], ["a", "a"]):
        with pytest.raises(ConfigError, match="two different"):
            Classification(classes)


@pytest.mark.parametrize("class_weights", ["none", "balanced", {"a": 4.0, "b": 1.0, "c": 0.5}])
@pytest.mark.parametrize(("smoothing", "focus"), [(0.0, 0.0), (0.2, 0.0), (0.0, 2.0)])
def test_weights_smoothing_and_focus_agree_with_numpy(class_weights, smoothing, focus):
    """A row weighs as much as its true class, whatever is spread over the others."""
    counts, targets = [40, 1, 1], np.array([0, 0, 0, 1, 2, -1])
    logits = np.random.default_rng(0).normal(size=(6, 3))
    loss = CrossEntropy(
        ["a", "b", "c"], counts, class_weights=class_weights, label_smoothing=smoothing, focus=focus
    )
    weights = {"none": np.ones(3), "balanced": sum(counts) / (3 * np.array(counts))}.get(
        class_weights if isinstance(class_weights, str) else "", np.array([4.0, 1.0, 0.5])
    )
    rows = targets >= 0
    logs = logits[rows] - np.log(np.exp(logits[rows]).sum(1, keepdims=True))
    spread = (1 - smoothing) * np.eye(3)[targets[rows]] + smoothing / 3
    true = np.exp(logs[np.arange(rows.sum()), targets[rows]])
    losses = -((1 - true) ** focus) * (spread * logs).sum(1)
    expected = (weights[targets[rows]] * losses).sum() / weights[targets[rows]].sum()
    value = loss.double()(torch.tensor(logits), torch.tensor(targets))
    assert value.item() == pytest.approx(expected, rel=1e-6)
    assert loss.weight_of(torch.tensor(targets)).item() == pytest.approx(
        weights[targets[rows]].sum(), rel=1e-6
    )


def test_a_separable_corpus_of_uneven_classes_is_learned_with_weights_and_smoothing():
    """Weights of the spread target put the optimum of a frequent class on a rare one."""
    counts = [40, 1, 1]
    targets = torch.tensor([0] * 40 + [1, 2])
    rows = functional.one_hot(targets, 3).float()
    loss = CrossEntropy(["a", "b", "c"], counts, class_weights="balanced", label_smoothing=0.1)
    head = torch.nn.Linear(3, 3)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss(head(rows), targets).backward()
        optimizer.step()
    assert (head(rows).argmax(1) == targets).float().mean() == 1
