"""The linear probe: scikit-learn's logistic regression is the reference."""

import numpy as np
import pytest

from polymodal.evaluation.linear_probe import PENALTY, fit_linear_probe, principal_components


def clusters(num_rows, num_features, distance):
    random = np.random.default_rng(1)
    targets = random.choice(4, size=num_rows, p=[0.5, 0.3, 0.15, 0.05])
    rows = random.normal(size=(num_rows, num_features))
    rows += distance * random.normal(size=(4, num_features))[targets]
    rows -= rows.mean(axis=0)
    return rows / rows.std(axis=0), targets


@pytest.mark.parametrize(("num_rows", "num_features"), [(300, 20), (60, 200)])
@pytest.mark.parametrize("distance", [0.1, 1.0])
def test_it_is_the_balanced_logistic_regression(num_rows, num_features, distance):
    linear = pytest.importorskip("sklearn.linear_model")
    rows, targets = clusters(num_rows, num_features, distance)
    probe = fit_linear_probe(rows, targets, 4, principal_components(rows))
    reference = linear.LogisticRegression(
        C=1 / (PENALTY * num_rows), class_weight="balanced", max_iter=5_000, tol=1e-8
    ).fit(rows, targets)
    assert probe.weights == pytest.approx(reference.coef_.T, abs=2e-3)
    assert probe.predict(rows).tolist() == reference.predict(rows).tolist()


def test_a_class_without_a_row_is_never_predicted():
    rows, targets = clusters(100, 5, 1.0)
    probe = fit_linear_probe(rows, 2 * targets, 8, principal_components(rows))
    assert {*probe.predict(rows).tolist()} <= {0, 2, 4, 6}
    assert np.isneginf(probe.bias[1::2]).all()


def test_one_class_is_always_predicted():
    rows, _ = clusters(20, 3, 1.0)
    probe = fit_linear_probe(rows, np.full(20, 2), 4, principal_components(rows))
    assert {*probe.predict(5 * rows).tolist()} == {2}
