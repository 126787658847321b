"""Balancing: the strong modality does not starve the weak one; the default changes nothing."""

import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from polymodal.encoders.base import Encoder
from polymodal.errors import ConfigError
from polymodal.evaluation.classification import Accuracy
from polymodal.models.cross_attention import CrossAttentionFusion
from polymodal.models.gmu import GatedFusion
from polymodal.schemas.batch import Batch, PaddedSequence
from polymodal.training.balanced_module import BalancedModule
from polymodal.training.losses import ConcordanceLoss, CrossEntropy
from polymodal.training.modality_balancing import (
    FUSED,
    MIN_GAP,
    OGMGE,
    AuxiliaryLosses,
    GradientBlending,
    generalisation_ratio,
    modulation,
    no_balancing,
)
from polymodal.training.module import TrainingModule
from polymodal.training.optimizers import constant
from polymodal.training.tasks import Classification
from polymodal.training.unimodal import (
    UnimodalOutput,
    WeightedMean,
    confidence,
    measure,
    modality_parameters,
    unimodal_heads,
)

SIZES = {"strong": 4, "weak": 8}
BALANCES = {
    "none": no_balancing,
    "auxiliary": AuxiliaryLosses,
    "blending": lambda: GradientBlending(every_epochs=1),
    "ogm": OGMGE,
}
every_balance = pytest.mark.parametrize("name", BALANCES)
every_balancing = pytest.mark.parametrize("name", [name for name in BALANCES if name != "none"])


class Dense(Encoder):
    """Two layers over vectors."""

    source, feature_size = "signals", 16

    def __init__(self, size):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(size, 16), torch.nn.GELU(), torch.nn.Linear(16, 16)
        )

    def transform(self):
        return lambda value: value

    def encode(self, sequence):
        return PaddedSequence(self.layers(sequence.values), sequence.valid_mask)


def batches(num, seed, size=32):
    """Strong: the class is where the points lie. Weak: it is whether two signs agree."""
    draw = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 2, (num,), generator=draw)
    sign = targets * 2.0 - 1
    strong = torch.randn(num, 1, 4, generator=draw) * 0.5 + sign[:, None, None]
    weak = torch.randn(num, 1, 8, generator=draw)
    product = torch.randint(0, 2, (num,), generator=draw) * 2.0 - 1
    weak[:, 0, :2] = weak[:, 0, :2] * 0.3 + torch.stack([product, product * sign], dim=1)
    mask = torch.ones(num, 1, dtype=torch.bool)
    return [
        Batch(
            {
                name: PaddedSequence(x[at], mask[at])
                for name, x in (("strong", strong), ("weak", weak))
            },
            tuple(f"{seed}-{row}" for row in range(num)[at]),
            targets[at],
        )
        for at in (slice(start, start + size) for start in range(0, num, size))
    ]


def build(balance, seed=1, model=GatedFusion, optimizer=None):
    torch.manual_seed(seed)
    encoders = {name: Dense(size) for name, size in SIZES.items()}
    sizes = dict.fromkeys(SIZES, 16)
    fused = model(sizes, 2, width=16, pooling="mean", dropout=0.0, modality_dropout=0.1)
    module = TrainingModule if balance is None else partial(BalancedModule, balance=balance)
    return module(
        encoders,
        fused,
        CrossEntropy("ab", [1, 1]),
        task=Classification("ab", monitor="accuracy"),
        scores={"accuracy": Accuracy()},
        optimizer=optimizer or (lambda groups: torch.optim.Adam(groups, lr=5e-3)),
        scheduler=constant,
        seed=seed,
    )


def fit(module, epochs, *, num=512, on=None, validation=True, checkpoint=None):
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    training = DataLoader(on or batches(num, 1), batch_size=None)
    validating = DataLoader(batches(num, 2), batch_size=None) if validation else None
    trainer.fit(module, training, validating, ckpt_path=checkpoint)
    return trainer


@torch.no_grad()
def accuracy_of_weak(module):
    """How often the fused model is right with the strong modality withheld."""
    module.eval()
    module.withheld = frozenset(["strong"])
    return torch.cat([module(b).argmax(1) == b.targets for b in batches(256, 3)]).float().mean()


def absent(batch, name, *, left_out):
    sequence = batch.modalities[name]
    empty = PaddedSequence(sequence.values, torch.zeros_like(sequence.valid_mask))
    others = {key: value for key, value in batch.modalities.items() if key != name}
    given = others if left_out else {**others, name: empty}
    return Batch(given, batch.utterance_ids, batch.targets)


def test_without_a_balance_nothing_is_added_and_nothing_else_is_drawn():
    module = build(None)
    drawn = torch.get_rng_state()
    assert {key.partition(".")[0] for key in module.state_dict()} == {"encoders", "model"}
    real, steps = module.training_step, []

    def compared(batch, batch_idx):
        before = torch.get_rng_state()
        plain = module.loss(module.model(module.encode(batch)), batch.targets)
        after = torch.get_rng_state()
        torch.set_rng_state(before)
        loss = real(batch, batch_idx)
        steps.append(loss.item() == plain.item() and torch.equal(torch.get_rng_state(), after))
        return loss

    module.training_step = compared
    fit(module, 1, num=64)
    assert steps == [True, True]
    checkpoint = {}
    module.on_save_checkpoint(checkpoint)
    assert list(checkpoint) == ["polymodal_classes"]
    build(None)
    assert torch.equal(drawn, torch.get_rng_state())


@every_balancing
def test_heads_leave_the_fused_model_and_its_start_as_they_are(name):
    plain, module = build(None).eval(), build(BALANCES[name]()).eval()
    start = module.state_dict()
    assert all(torch.equal(start[key], value) for key, value in plain.state_dict().items())
    assert {key.partition(".")[0] for key in start} == {"encoders", "model", "heads"}
    (batch,) = batches(8, 0)
    assert torch.equal(plain(batch), module(batch))


def test_the_weak_modality_learns_beside_the_strong_one():
    modules = {name: build(BALANCES[name]()) for name in ("none", "auxiliary", "blending")}
    for module in modules.values():
        fit(module, 5)
    accuracy = {name: accuracy_of_weak(module) for name, module in modules.items()}
    assert accuracy["none"] < 0.8
    assert min(accuracy["auxiliary"], accuracy["blending"]) > 0.95


@every_balancing
@pytest.mark.parametrize("left_out", [True, False])
def test_a_modality_that_a_batch_lacks_gives_no_nan_and_no_idle_parameter(name, left_out):
    """DDP waits for every parameter's gradient; encoders of absent modalities are its own case."""
    module = build(BALANCES[name]())
    (batch,) = batches(8, 0)
    incomplete = absent(batch, "weak", left_out=left_out)
    encoded = module.encode(incomplete)
    modulates = module.balance.modulates
    loss = torch.nn.functional.cross_entropy  # NaN for nothing, unlike ours
    measured = measure(module.heads, encoded, batch.targets, loss, detached=modulates)
    assert measured["weak"].num == measured["weak"].loss.item() == 0
    fused = module.loss(module.fuse(encoded), batch.targets)
    module.balance.loss(fused, measured).backward()
    trained = [*module.heads.parameters(), *module.model.parameters()]
    assert all(torch.isfinite(p.grad).all() for p in trained)
    assert all((p.grad == 0).all() for p in module.heads["weak"].parameters())


def test_utterances_without_the_modality_do_not_count_in_its_loss():
    heads = unimodal_heads({"text": 2}, 2, "mean")
    values, targets = torch.randn(3, 1, 2), torch.tensor([0, 1, 0])
    here = PaddedSequence(values, torch.tensor([[True], [False], [True]]))
    loss = CrossEntropy("ab", [1, 1])
    output = measure(heads, {"text": here}, targets, loss, detached=False)["text"]
    alone = heads["text"](
        {"text": PaddedSequence(values[[0, 2]], torch.ones(2, 1, dtype=torch.bool))}
    )
    assert output.num == 2
    assert output.loss.item() == pytest.approx(loss(alone, targets[[0, 2]]).item())


def test_auxiliary_losses_are_averaged_over_the_modalities_that_are_there():
    present = UnimodalOutput(torch.tensor(3.0), torch.tensor(0.0), 4)
    none = UnimodalOutput(torch.tensor(0.0), torch.tensor(0.0), 0)
    fused, balance = torch.tensor(1.0), AuxiliaryLosses(weight=2)
    assert balance.loss(fused, {"a": present, "b": present}).item() == 7
    assert balance.loss(fused, {"a": present, "b": none}).item() == 7
    assert balance.loss(fused, {"a": none, "b": none}).item() == 1


def test_the_ratio_of_a_loss_is_its_generalisation_over_its_squared_overfitting():
    assert generalisation_ratio([1.0, 1.1], [0.5, 0.8]) == pytest.approx(0.3 / 0.2**2)
    assert generalisation_ratio([1.0, 1.0], [0.9, 0.9]) == pytest.approx(0.1 / MIN_GAP**2)
    assert generalisation_ratio([1.0, 1.0], [0.5, 1.1]) == 0


def test_blending_estimates_again_when_its_epochs_are_over():
    balance = GradientBlending(every_epochs=2, even_fraction=0.3)
    output = UnimodalOutput(torch.tensor(4.0), torch.tensor(0.0), 4)
    assert balance.loss(torch.tensor(1.0), {"a": output, "b": output}).item() == pytest.approx(3)
    start = dict.fromkeys([FUSED, "a", "b"], 1.0)
    balance.on_epoch_end(start, start)
    balance.on_epoch_end(start, {})  # an epoch without validation does not count
    later = {FUSED: 0.5, "a": 0.4, "b": 0.4}
    balance.on_epoch_end(later, {FUSED: 0.6, "a": 0.6, "b": 1.1})
    assert set(balance.weights.values()) == {1 / 3}
    balance.on_epoch_end(later, {FUSED: 0.6, "a": 0.6, "b": 1.1})
    values = [0.4 / 0.1**2, 0.4 / 0.2**2, 0]  # b has not generalised
    expected = [0.1 + 0.7 * value / sum(values) for value in values]
    assert list(balance.weights.values()) == pytest.approx(expected)
    weights = dict(balance.weights)
    worse = dict.fromkeys(start, 2.0)
    balance.on_epoch_end(worse, worse)
    balance.on_epoch_end(worse, worse)
    assert balance.weights == weights  # nothing has generalised


def test_a_resumed_blending_goes_on_as_if_it_had_not_stopped(tmp_path):
    straight = build(GradientBlending(every_epochs=2))
    fit(straight, 6, num=64)
    stopped = build(GradientBlending(every_epochs=2))
    fit(stopped, 4, num=64).save_checkpoint(tmp_path / "last.ckpt")
    resumed = build(GradientBlending(every_epochs=2), seed=1)
    fit(resumed, 6, num=64, checkpoint=tmp_path / "last.ckpt")
    assert len(set(straight.balance.weights.values())) > 1
    assert resumed.balance.state_dict() == straight.balance.state_dict()
    for key, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value)


def test_blending_rejects_a_training_without_validation():
    with pytest.raises(ConfigError, match=r"no validation split.*\n.*split.val"):
        fit(build(GradientBlending()), 1, num=64, validation=False)


def test_the_scale_of_two_modalities_is_that_of_the_paper_above_one():
    scales = modulation({"strong": 0.9, "weak": 0.6}, alpha=0.8)
    assert scales == {"strong": pytest.approx(1 - math.tanh(0.8 * 0.5)), "weak": 1.0}
    three = modulation({"a": 0.9, "b": 0.5, "c": 0.1}, alpha=1.0)
    assert three == {"a": pytest.approx(1 - math.tanh(2)), "b": 1.0, "c": 1.0}
    assert modulation({"a": 0.9}, alpha=1.0) == {"a": 1.0}


def test_only_the_stronger_modalitys_own_gradients_are_scaled():
    sgd = lambda groups: torch.optim.SGD(groups, lr=0.0)  # noqa: E731
    gradients = {}
    for balance in (AuxiliaryLosses(weight=1e-9), OGMGE(alpha=1, noise=False)):
        module = build(balance, model=CrossAttentionFusion, optimizer=sgd)
        with torch.no_grad():  # one head is sure and right, the other one undecided
            for head in module.heads.values():
                head.head[0].weight.zero_()
            module.heads["strong"].head[0].bias.copy_(torch.tensor([0.0, math.log(3)]))
            module.heads["weak"].head[0].bias.zero_()
        (batch,) = batches(32, 1)
        batch.targets.fill_(1)
        fit(module, 1, on=[batch], validation=False)
        gradients[balance.modulates] = {n: p.grad for n, p in module.named_parameters()}
    prefixes = ("encoders.strong.", "model.projections.strong.", "model.poolings.strong.")
    prefixes += ("model.norms.strong.", "model.summaries.strong.", "model.layers.0.selves.strong.")
    scale = 1 - math.tanh(0.75 / 0.5 - 1)
    for name, gradient in gradients[True].items():
        if name.startswith("heads."):
            continue
        strong = name.startswith(prefixes) or ("es.strong." in name and ".weak." not in name)
        expected = gradients[False][name] * (scale if strong else 1)
        torch.testing.assert_close(gradient, expected, atol=1e-7, rtol=1e-4, msg=name)


def test_what_lets_one_modality_attend_to_another_belongs_to_neither():
    module = build(OGMGE(), model=CrossAttentionFusion)
    parameters = modality_parameters(module.encoders, module.model)
    names = {id(value): name for name, value in module.named_parameters()}
    strong = {names[id(p)] for p in parameters["strong"]}
    assert "model.layers.0.crosses.strong.norm.weight" in strong
    assert not any("attentions" in name and "crosses" in name for name in strong)
    assert not strong & {names[id(p)] for p in parameters["weak"]}


def test_heads_that_only_measure_pass_no_gradient_to_the_encoders():
    module = build(OGMGE())
    (batch,) = batches(8, 0)
    encoded = module.encode(batch)
    measured = measure(module.heads, encoded, batch.targets, module.loss, detached=True)
    sum(output.loss for output in measured.values()).backward()
    assert all(p.grad is None for p in module.encoders.parameters())
    assert all(p.grad is not None for p in module.heads.parameters())


def test_noise_is_that_of_its_seed_and_as_wide_as_the_gradient():
    grown = []
    for seed in (3, 3, 4):
        parameter = torch.nn.Parameter(torch.zeros(5000))
        parameter.grad = torch.linspace(-2, 2, 5000)
        OGMGE(alpha=1).scale_gradients({"a": [parameter]}, {"a": 0.9}, seed)
        grown.append(parameter.grad - torch.linspace(-2, 2, 5000))
    assert torch.equal(grown[0], grown[1])
    assert not torch.equal(grown[0], grown[2])
    assert grown[0].std() == pytest.approx(torch.linspace(-2, 2, 5000).std().item(), rel=0.05)


def test_confidence_without_a_single_class_falls_with_the_loss():
    values, targets = torch.zeros(2, 1), torch.tensor([[0.1], [0.9]])
    loss = ConcordanceLoss()(values, targets)
    assert confidence(values, targets, loss).item() == pytest.approx(math.exp(-loss.item()))


def test_totals_are_weighted_by_their_utterances_and_add_up_over_ranks():
    means = WeightedMean()
    means.update("a", torch.tensor(1.0), 1)
    means.update("a", torch.tensor(4.0), 2)
    means.update("b", torch.tensor(0.0), 0)
    second = torch.tensor([[3.0, 3.0], [5.0, 1.0]])  # what another rank has seen
    assert means.compute(lambda sums: sums + second) == {"a": pytest.approx(12 / 6), "b": 5.0}
    assert means.compute(lambda sums: sums) == {}


@pytest.mark.parametrize("sizes", [{"speech": 4}, {"speech": 4, FUSED: 4}])
def test_balancing_needs_two_modalities_with_unique_names(sizes):
    with pytest.raises(ConfigError, match=r"at least two"):
        AuxiliaryLosses().heads(sizes, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AuxiliaryLosses(weight=0),
        lambda: OGMGE(alpha=-1.0),
        lambda: GradientBlending(every_epochs=0),
        lambda: GradientBlending(even_fraction=1.5),
    ],
)
def test_options_out_of_their_range_are_rejected(make):
    with pytest.raises(ConfigError, match=r"balance\."):
        make()


@every_balance
def test_what_each_modality_does_alone_is_logged(name):
    logged = set(fit(build(BALANCES[name]()), 2, num=64).callback_metrics)
    alone = {"train/loss_strong", "train/loss_weak", "val/loss_strong", "val/loss_weak"}
    assert logged & alone == (set() if name == "none" else alone)
    assert {"train/weight_weak", "train/weight_fused"} <= logged or name != "blending"
    assert "train/scale_strong" in logged or name != "ogm"
