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
# What each of three batches measures: utterances, frames of the face, frames of the voice.
SIZES = [[5, 7, 3], [2, 4, 9], [3, 7, 3]]


def batch(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for frames, (name, width) in zip(sizes[1:], WIDTHS.items(), strict=True):
        values = torch.randn(sizes[0], frames, width, generator=generator)
        mask = torch.ones(sizes[0], frames, dtype=torch.bool)
        mask[0, frames // 2 :] = False
        made[name] = PaddedSequence(values, mask)
    return made


def stacked(batches):
    largest = np.max(SIZES, axis=0).tolist()
    whole = {}
    for frames, (name, width) in zip(largest[1:], WIDTHS.items(), strict=True):
        values = torch.zeros(len(batches), largest[0], frames, width)
        mask = torch.zeros(len(batches), largest[0], frames, dtype=torch.bool)
        for head, one in enumerate(batches):
            places = (head, *map(slice, one[name].valid_mask.shape))
            values[places], mask[places] = one[name].values, one[name].valid_mask
        whole[name] = (values, mask)
    return whole


@pytest.fixture(params=["cross_attention", "early"])
def models(request):
    make = {"cross_attention": CrossAttentionFusion, "early": EarlyFusion}[request.param]
    made = []
    for seed in range(3):
        torch.manual_seed(seed)
        made.append(make(WIDTHS, 3, width=8, dropout=0.4))
    return made


def test_outputs_and_gradients_with_dropout_are_those_of_each_model_alone(models):
    batches = [batch(sizes, seed) for seed, sizes in enumerate(SIZES)]
    stack = StackedModels(models, WIDTHS)
    states = [stack.random_state(seed) for seed in (7, 8, 9)]
    for _ in range(2):  # the second step goes on with the random numbers of the first
        outputs = stack([0, 1, 2], stacked(batches), stack.draw(states, SIZES))
    real = [one[: sizes[0]] for one, sizes in zip(outputs, SIZES, strict=True)]
    torch.cat(real).sin().sum().backward()
    for place, model in enumerate(models):
        torch.manual_seed(7 + place)
        for _ in range(2):
            alone = model.train()(batches[place])
        torch.testing.assert_close(outputs[place][: SIZES[place][0]], alone)
        alone.sin().sum().backward()
        for name, weight in model.named_parameters():
            gradient = stack.parameters[name].grad
            assert gradient is not None
            torch.testing.assert_close(gradient[place], weight.grad, msg=name)


def test_some_models_of_a_stack_run_without_dropout(models):
    batches = [batch(sizes, seed) for seed, sizes in enumerate(SIZES)]
    stack = StackedModels(models, WIDTHS)
    whole = stacked(batches)
    some = {name: (values[[0, 2]], mask[[0, 2]]) for name, (values, mask) in whole.items()}
    outputs = stack([0, 2], some)
    stack.keep([2, 0])
    kept = stack([0], {name: (values[2:], mask[2:]) for name, (values, mask) in whole.items()})
    with torch.no_grad():
        for place, said in ((0, outputs[0]), (2, outputs[1]), (2, kept[0])):
            alone = models[place].eval()(batches[place])
            torch.testing.assert_close(said[: SIZES[place][0]], alone)


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
    ("kind", "words"),
    [("noise", "vmap"), ("branch", "vmap"), ("batch", "in another batch"), ("none", None)],
)
def test_models_that_cannot_share_a_pass_are_told(kind, words):
    reason = why_not_stackable(Drawing(kind), {"face": 4})
    assert reason is None if words is None else words in (reason or "")


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
    rows = pl.DataFrame({"utterance_id": [*arrays], "speaker": ["s"] * 4})
    readers = {"face": lambda one: arrays[one.utterance_id]}
    dataset = UtteranceDataset(Manifest(rows, Path()), readers, np.zeros(4))
    shifts = (0, 10, 0)
    frames = PackedFrames(
        [dataset, dataset], [{"face": Shift(by)} for by in shifts], torch.device("cpu")
    )
    wanted = [["d", "c"], ["c", "a"], ["b"]]
    numbers = [[frames.rows[name] for name in names] for names in wanted]
    numbers[2].append(PADDING_ROW)
    values, mask = frames.gather(np.array(numbers), np.arange(3))["face"]
    assert values.shape == (3, 2, 5, 2)
    for place, (names, by) in enumerate(zip(wanted, shifts, strict=True)):
        alone = pad([arrays[name] for name in names])
        padded = torch.zeros(2, 5, 2)
        there = (slice(len(names)), slice(alone.valid_mask.shape[1]))
        padded[there] = (alone.values + by).masked_fill(~alone.valid_mask[..., None], 0)
        assert torch.equal(values[place], padded)
        assert mask[place].sum() == alone.valid_mask.sum()
    assert frames.sizes(np.array(numbers[0])) == [2, 5]
    assert frames.counts(np.array(numbers[0])) == (5, 10)
    assert frames.counts(np.array(numbers[0][1:])) == (0, 0)
    monkeypatch.setattr(vectorized_frames, "MAX_PASS", 20)
    each = [np.array(one) for one in ([3], [3, 0], [1], [0])]  # 10, 20, 2 and 6 numbers
    assert frames.passes(each) == [[1], [0, 3], [2]]


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
    score, best = (None if one is None else np.float32(one) for one in scores)
    assert watch.better(score, best) is better
