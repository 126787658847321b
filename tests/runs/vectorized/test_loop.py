"""Models in one pass: each with its own weights, dropout and padding, as if it ran alone."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from polymodal.data.dataset import UtteranceDataset, pad
from polymodal.encoders.base import Encoder
from polymodal.models.concat import EarlyFusion
from polymodal.models.cross_attention import CrossAttentionFusion
from polymodal.models.unimodal import UnimodalClassifier
from polymodal.runs.vectorized import frames as vectorized_frames
from polymodal.runs.vectorized.frames import PADDING_ROW, PackedFrames
from polymodal.runs.vectorized.head import MonitorSpec
from polymodal.runs.vectorized.stack import StackedModels, why_not_stackable
from polymodal.schemas.batch import PaddedSequence
from polymodal.schemas.manifest import Manifest

WIDTHS = {"face": 4, "voice": 6}
# Sizes of three batches: utterances, frames of the face, frames of the voice.
SIZES = [[5, 7, 3], [2, 4, 9], [3, 7, 3]]


def batch(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    modalities = {}
    for frames, (name, width) in zip(sizes[1:], WIDTHS.items(), strict=True):
        values = torch.randn(sizes[0], frames, width, generator=generator)
        mask = torch.ones(sizes[0], frames, dtype=torch.bool)
        mask[0, frames // 2 :] = False
        modalities[name] = PaddedSequence(values, mask)
    return modalities


def stacked(batches):
    largest = np.max(SIZES, axis=0).tolist()
    padded = {}
    for frames, (name, width) in zip(largest[1:], WIDTHS.items(), strict=True):
        values = torch.zeros(len(batches), largest[0], frames, width)
        mask = torch.zeros(len(batches), largest[0], frames, dtype=torch.bool)
        for head, modalities in enumerate(batches):
            sequence = modalities[name]
            corner = (head, *map(slice, sequence.valid_mask.shape))
            values[corner], mask[corner] = sequence.values, sequence.valid_mask
        padded[name] = (values, mask)
    return padded


@pytest.fixture(params=["cross_attention", "early"])
def models(request):
    make = {"cross_attention": CrossAttentionFusion, "early": EarlyFusion}[request.param]
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(make(WIDTHS, 3, width=8, dropout=0.4))
    return models


def test_outputs_and_gradients_with_dropout_are_those_of_each_model_alone(models):
    batches = [batch(sizes, seed) for seed, sizes in enumerate(SIZES)]
    stack = StackedModels(models, WIDTHS)
    states = [stack.random_state(seed) for seed in (7, 8, 9)]
    for _ in range(2):  # the second step goes on with the random numbers of the first
        outputs = stack([0, 1, 2], stacked(batches), stack.draw(states, SIZES))
    real = [output[: sizes[0]] for output, sizes in zip(outputs, SIZES, strict=True)]
    torch.cat(real).sin().sum().backward()
    for head, model in enumerate(models):
        torch.manual_seed(7 + head)
        for _ in range(2):
            alone = model.train()(batches[head])
        torch.testing.assert_close(outputs[head][: SIZES[head][0]], alone)
        alone.sin().sum().backward()
        for name, weight in model.named_parameters():
            gradient = stack.parameters[name].grad
            assert gradient is not None
            torch.testing.assert_close(gradient[head], weight.grad, msg=name)


def test_some_models_of_a_stack_run_without_dropout(models):
    batches = [batch(sizes, seed) for seed, sizes in enumerate(SIZES)]
    stack = StackedModels(models, WIDTHS)
    inputs = stacked(batches)
    two = {name: (values[[0, 2]], mask[[0, 2]]) for name, (values, mask) in inputs.items()}
    outputs = stack([0, 2], two)
    stack.keep([2, 0])
    last = stack([0], {name: (values[2:], mask[2:]) for name, (values, mask) in inputs.items()})
    with torch.no_grad():
        for head, output in ((0, outputs[0]), (2, outputs[1]), (2, last[0])):
            alone = models[head].eval()(batches[head])
            torch.testing.assert_close(output[: SIZES[head][0]], alone)


class Drawing(torch.nn.Module):
    """Adds what it draws, one number for the whole batch, or statistics of the batch."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.inner = kind, UnimodalClassifier({"face": 4}, 3, dropout=0.3)
        self.norm = torch.nn.BatchNorm1d(3, track_running_stats=False)

    def forward(self, modalities):
        logits = self.inner(modalities)
        if self.kind == "noise":
            return logits + torch.randn(logits.shape)
        if self.kind == "branch" and logits.sum() > 0:
            return -logits
        return self.norm(logits) if self.kind == "batch" else logits


@pytest.mark.parametrize(
    ("kind", "message"),
    [("noise", "vmap"), ("branch", "vmap"), ("batch", "in another batch"), ("none", None)],
)
def test_models_that_cannot_share_a_pass_are_reported(kind, message):
    reason = why_not_stackable(Drawing(kind), {"face": 4})
    assert reason is None if message is None else message in (reason or "")


class Shift(Encoder):
    """An encoder whose state tells the heads of one fold from those of another."""

    source, feature_size = "signals", 2

    def __init__(self, by):
        super().__init__()
        self.register_buffer("by", torch.tensor(float(by)))

    def transform(self):
        return None

    def encode(self, sequence):
        return PaddedSequence(sequence.values + self.by, sequence.valid_mask)


def test_frames_are_gathered_as_batches_are_collated(monkeypatch):
    rng = np.random.default_rng(0)
    lengths = {"a": 3, "b": 1, "c": None, "d": 5}
    arrays = {
        name: None if num is None else rng.normal(size=(num, 2)).astype(np.float32)
        for name, num in lengths.items()
    }
    manifest = pl.DataFrame({"utterance_id": [*arrays], "speaker": ["s"] * 4})
    readers = {"face": lambda utterance: arrays[utterance.utterance_id]}
    dataset = UtteranceDataset(Manifest(manifest, Path()), readers, np.zeros(4))
    shifts = (0, 10, 0)
    frames = PackedFrames(
        [dataset, dataset], [{"face": Shift(by)} for by in shifts], torch.device("cpu")
    )
    expected = [["d", "c"], ["c", "a"], ["b"]]
    numbers = [[frames.rows[name] for name in names] for names in expected]
    numbers[2].append(PADDING_ROW)
    values, mask = frames.gather(np.array(numbers), np.arange(3))["face"]
    assert values.shape == (3, 2, 5, 2)
    for head, (names, by) in enumerate(zip(expected, shifts, strict=True)):
        alone = pad([arrays[name] for name in names])
        padded = torch.zeros(2, 5, 2)
        corner = (slice(len(names)), slice(alone.valid_mask.shape[1]))
        padded[corner] = (alone.values + by).masked_fill(~alone.valid_mask[..., None], 0)
        assert torch.equal(values[head], padded)
        assert mask[head].sum() == alone.valid_mask.sum()
    assert frames.sizes(np.array(numbers[0])) == [2, 5]
    assert frames.counts(np.array(numbers[0])) == (5, 10)
    assert frames.counts(np.array(numbers[0][1:])) == (0, 0)
    monkeypatch.setattr(vectorized_frames, "MAX_PASS", 20)
    rows = [np.array(row) for row in ([3], [3, 0], [1], [0])]  # 10, 20, 2 and 6 numbers
    assert frames.passes(rows) == [[1], [0, 3], [2]]


@pytest.mark.parametrize(
    ("watch", "scores", "better"),
    [
        (MonitorSpec("val/uar", "max"), (0.5, 0.5), False),
        (MonitorSpec("val/uar", "max"), (0.51, 0.5), True),
        (MonitorSpec("val/uar", "max", min_delta=0.1), (0.55, 0.5), False),
        (MonitorSpec("val/loss", "min"), (0.4, 0.5), True),
        (MonitorSpec("val/loss", "min"), (float("nan"), 0.5), False),
        (MonitorSpec("val/loss", "min"), (9.0, None), True),
    ],
)
def test_an_epoch_is_better_only_by_more_than_the_least_difference(watch, scores, better):
    score, best = (None if value is None else np.float32(value) for value in scores)
    assert watch.better(score, best) is better
