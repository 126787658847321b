"""Principal components: those of the covariance, with the same signs whatever the decomposition."""

import numpy as np
import pytest

from polymodal.evaluation.linear_probe import principal_components


def centred(num_rows, num_features):
    rows = np.random.default_rng(0).normal(size=(num_rows, num_features))
    rows *= np.arange(1, num_features + 1)
    return rows - rows.mean(axis=0)


@pytest.mark.parametrize(("num_rows", "num_features"), [(50, 6), (6, 50)])
def test_they_are_those_of_a_singular_value_decomposition(num_rows, num_features):
    rows = centred(num_rows, num_features)
    components = principal_components(rows)
    _, singular, directions = np.linalg.svd(rows, full_matrices=False)
    num = min(num_features, num_rows - 1)
    assert components.variances == pytest.approx(np.square(singular[:num]) / num_rows)
    cosines = np.abs((components.directions.T * directions[:num]).sum(axis=1))
    assert cosines == pytest.approx(np.ones(num))
    whitened = components.whiten(rows, num)
    assert whitened.T @ whitened / num_rows == pytest.approx(np.eye(num), abs=1e-9)


@pytest.mark.parametrize(("num_rows", "num_features"), [(50, 6), (6, 50)])
def test_signs_do_not_depend_on_the_signs_of_the_rows(num_rows, num_features):
    rows = centred(num_rows, num_features)
    directions = principal_components(rows).directions
    assert (directions[np.abs(directions).argmax(axis=0), range(directions.shape[1])] > 0).all()
    assert principal_components(-rows).directions == pytest.approx(directions)


def test_constant_rows_have_none():
    components = principal_components(np.zeros((4, 3)))
    assert components.directions.shape == (3, 0)
    assert components.variances.shape == (0,)
