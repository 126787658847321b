import functools

import numpy as np
import pytest
import torchmetrics

from polymodal.errors import ConfigError
from polymodal.evaluation.classification import MacroF1, UnweightedAverageRecall
from polymodal.evaluation.torchmetrics import TorchmetricsScore, build_score

CLASSES = {"classes": 3}


def draw():
    generator = np.random.default_rng(0)
    return generator.normal(size=(80, 3)), generator.integers(0, 3, 80)


def test_the_task_is_told_where_it_is_asked_for():
    sk = pytest.importorskip("sklearn.metrics")
    logits, targets = draw()
    kappa = build_score(torchmetrics.CohenKappa, CLASSES)
    expected = sk.cohen_kappa_score(targets, logits.argmax(axis=1))
    assert kappa(logits, targets) == pytest.approx(expected, abs=1e-6)
    assert kappa.higher_is_better


def test_the_old_and_the_new_name_of_a_metric_give_our_macro_f1():
    logits, targets = draw()
    wrapped = build_score(functools.partial(torchmetrics.F1Score, average="macro"), CLASSES)
    direct = build_score(torchmetrics.classification.MulticlassF1Score, CLASSES)
    for score in (wrapped, direct):
        assert score(logits, targets) == pytest.approx(MacroF1()(logits, targets), abs=1e-6)


def test_state_does_not_leak_into_the_next_call():
    logits, targets = draw()
    accuracy = build_score(torchmetrics.Accuracy, CLASSES)
    first = accuracy(logits, targets)
    accuracy(logits, (targets + 1) % 3)
    assert accuracy(logits, targets) == first


def test_no_gathering_over_ranks():
    # A rank that scores has all predictions; a metric that gathered would wait for the others.
    score = TorchmetricsScore(torchmetrics.Accuracy(task="multiclass", num_classes=3))
    assert score.metric.sync_on_compute is False


def test_own_scores_and_bound_arguments_are_left_alone():
    assert isinstance(build_score(UnweightedAverageRecall, CLASSES), UnweightedAverageRecall)
    bound = functools.partial(torchmetrics.Accuracy, task="multiclass", num_classes=5)
    assert build_score(bound, CLASSES).metric.num_classes == 5


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (functools.partial(torchmetrics.Accuracy, averge="macro"), "averge"),
        (lambda: 3, "builds a int"),
        (torchmetrics.ConfusionMatrix, "higher is better"),
    ],
)
def test_what_is_not_a_score_is_rejected(factory, message):
    with pytest.raises(ConfigError, match=message):
        build_score(factory, CLASSES)


def test_several_numbers_are_rejected():
    score = build_score(functools.partial(torchmetrics.Recall, average="none"), CLASSES)
    with pytest.raises(ConfigError, match="several numbers"):
        score(*draw())
