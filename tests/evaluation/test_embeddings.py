"""What is told of embeddings, where the truth is known."""

import dataclasses
import json

import numpy as np
import pytest

from polymodal.evaluation.embeddings import (
    MAX_COMPONENTS,
    MAX_POINTS,
    FoldEmbeddings,
    describe_embeddings,
    frechet_distance,
)

CLASSES = ("calm", "joy", "anger")
CHANCE = 1 / len(CLASSES)


def fold(num=90, num_features=8, distance=0.0, seed=0, shift=0.0, num_classes=3):
    """Half of the rows train, a quarter each val and test, which is moved by a shift."""
    random = np.random.default_rng(seed)
    targets = random.permutation(np.arange(num) % num_classes)
    values = random.normal(size=(num, num_features)) + distance * targets[:, None]
    splits = np.resize(["train", "val", "train", "test"], num)
    values[splits == "test"] += shift
    return FoldEmbeddings(values, targets, splits.tolist())


def changed(embeddings, **changes):
    return dataclasses.replace(embeddings, **changes)


def test_counts_are_those_of_all_folds():
    described = describe_embeddings([fold(40), fold(80)], CLASSES)
    assert described["num_folds"] == 2
    assert described["feature_size"] == 8
    assert described["rows"] == {"train": 60, "val": 30, "test": 30}
    assert json.loads(json.dumps(described, allow_nan=False)) == described


def test_separable_clusters_are_told_apart():
    probe = describe_embeddings([fold(distance=50.0)], CLASSES)["probe"]
    assert probe == {"train": 1.0, "val": 1.0, "test": 1.0}


def test_random_labels_are_learnt_but_not_predicted_where_features_outnumber_rows():
    folds = [fold(240, 300, seed=seed) for seed in range(4)]
    probe = describe_embeddings(folds, CLASSES)["probe"]
    assert probe["train"] > 0.99
    assert probe["test"] == pytest.approx(CHANCE, abs=0.1)


def test_predictions_of_all_folds_are_scored_once():
    """The first fold has one class in test, the second the others: no fold alone reaches 1."""
    folds = [fold(120, distance=50.0, seed=seed) for seed in (0, 1)]
    for index, embeddings in enumerate(folds):
        test = np.array(embeddings.splits) == "test"
        embeddings.targets[test & ((embeddings.targets == 0) == (index == 0))] = -1
    assert describe_embeddings(folds, CLASSES)["probe"]["test"] == 1.0
    assert describe_embeddings(folds[:1], CLASSES)["probe"]["test"] == pytest.approx(2 / 3)


def test_without_classes_or_labels_there_is_no_probe():
    embeddings = fold()
    unlabelled = changed(embeddings, targets=np.full(90, -1))
    for described in (
        describe_embeddings([embeddings], ()),
        describe_embeddings([unlabelled], CLASSES),
    ):
        assert described["probe"] is None
        assert {point["label"] for point in described["points"]} == {None}
        assert described["distance"].keys() == {"val", "test"}
    description = describe_embeddings([unlabelled, fold(distance=50.0)], CLASSES)
    assert description["probe"]["test"] == 1.0


def test_the_frechet_distance_is_that_of_the_gaussians():
    """Rows with exactly these means and covariances; the formula by scipy's matrix root."""
    linalg = pytest.importorskip("scipy.linalg")
    random = np.random.default_rng(0)
    rows, means, covariances = [], random.normal(size=(2, 3)), []
    for mean, num in zip(means, (20, 50), strict=True):
        root = random.normal(size=(3, 3))
        covariances.append(root @ root.T)
        white = random.normal(size=(num, 3))
        white = (white - white.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(white.T))).T
        rows.append(white @ root.T + mean)
    expected = np.square(means[0] - means[1]).sum() + np.trace(
        sum(covariances) - 2 * linalg.sqrtm(covariances[0] @ covariances[1]).real
    )
    assert frechet_distance(*rows) == pytest.approx(expected)
    assert frechet_distance(*rows[::-1]) == pytest.approx(expected)
    assert frechet_distance(rows[0], rows[0]) == pytest.approx(0.0, abs=1e-9)


def test_a_split_that_is_moved_is_further_away():
    near, far = (describe_embeddings([fold(800, shift=shift)], CLASSES) for shift in (0.0, 2.0))
    assert near["distance"]["test"] < 0.1
    assert far["distance"]["test"] == pytest.approx(4.0, rel=0.15)  # squared, of each feature
    assert far["distance"]["val"] == pytest.approx(near["distance"]["val"], rel=1e-6)


def test_distances_are_the_mean_over_folds():
    folds = [fold(800), fold(800, shift=2.0)]
    distances = [describe_embeddings([f], CLASSES)["distance"]["test"] for f in folds]
    both = describe_embeddings(folds, CLASSES)["distance"]["test"]
    assert both == pytest.approx(np.mean(distances))


def test_neither_scale_nor_repeated_features_move_anything():
    embeddings = fold(200, 12, distance=0.5, shift=0.5)
    scaled = embeddings.values * np.geomspace(1e-4, 1e4, 12) + 3
    plain, scaled, wider = (
        describe_embeddings([changed(embeddings, values=values)], CLASSES)
        for values in (embeddings.values, scaled, np.hstack([embeddings.values] * 3))
    )
    assert scaled["probe"] == plain["probe"]
    for described in (scaled, wider):
        assert described["distance"] == pytest.approx(plain["distance"], rel=1e-6)
        assert described["explained"] == pytest.approx(plain["explained"], rel=1e-6)
    assert [(point["x"], point["y"]) for point in scaled["points"]] == [
        pytest.approx((point["x"], point["y"]), abs=2e-4) for point in plain["points"]
    ]


def test_equal_input_gives_equal_bits():
    first, second = (describe_embeddings([fold(60, 100), fold()], CLASSES) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


def test_points_are_few_and_of_all_classes():
    embeddings = fold(2_000)
    embeddings.targets[:] = 0
    embeddings.targets[:20:2] = 1  # ten train rows
    embeddings.targets[1] = -1
    points = describe_embeddings([embeddings, fold()], CLASSES)["points"]
    for split in ("train", "val", "test"):
        assert sum(point["split"] == split for point in points) == MAX_POINTS
    labels = [point["label"] for point in points if point["split"] == "train"]
    assert labels.count("joy") == 10
    assert labels.count("calm") == MAX_POINTS - 10
    assert sum(point["label"] is None for point in points) == 1


def test_points_are_where_the_rows_vary_most():
    random = np.random.default_rng(0)
    across = random.normal(size=300)
    values = np.stack([across, across, random.normal(size=300)], axis=1)
    splits = ["train"] * 150 + ["test"] * 150
    described = describe_embeddings(
        [FoldEmbeddings(values, np.zeros(300, dtype=int), splits)], CLASSES
    )
    assert described["explained"] == pytest.approx([2 / 3, 1 / 3], abs=0.05)
    x = [point["x"] for point in described["points"] if point["split"] == "train"]
    assert abs(np.corrcoef(x, across[:150])[0, 1]) > 0.99


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_counts_as_the_train_mean(value):
    embeddings = fold(distance=1.0)
    row = embeddings.splits.index("test")
    train = np.array(embeddings.splits) == "train"
    broken, filled = embeddings.values.copy(), embeddings.values.copy()
    broken[row, 2], filled[row, 2] = value, embeddings.values[train, 2].mean()
    described, expected = (
        describe_embeddings([changed(embeddings, values=values)], CLASSES)
        for values in (broken, filled)
    )
    assert described["distance"] == pytest.approx(expected["distance"])
    assert described["probe"] == expected["probe"]


def test_hostile_features_leave_plain_numbers():
    embeddings = fold(num_features=7)
    embeddings.values[:, 1] = 5.0  # constant
    embeddings.values[:, 2] = np.nan
    embeddings.values[::2, 3] = np.inf  # every train row
    embeddings.values[:, 4] *= 1e200  # its square overflows
    embeddings.values[:, 5] = np.where(np.array(embeddings.splits) == "test", 9.0, 1.0)
    described = describe_embeddings([embeddings], CLASSES)
    json.dumps(described, allow_nan=False)
    expected = describe_embeddings(
        [changed(embeddings, values=embeddings.values[:, [0, 6]])], CLASSES
    )
    assert described["distance"] == pytest.approx(expected["distance"])


def test_constant_embeddings_have_no_distance():
    described = describe_embeddings([changed(fold(), values=np.ones((90, 3)))], CLASSES)
    assert described["distance"] == {}
    assert described["explained"] == [0.0, 0.0]
    assert described["probe"]["test"] == pytest.approx(CHANCE)


def test_fewer_rows_than_components_are_measured_in_fewer():
    few = fold(24, 64)
    assert MAX_COMPONENTS > 12
    described = describe_embeddings([few], CLASSES)
    assert 0 < described["distance"]["test"] < 100


@pytest.mark.parametrize("missing", ["val", "test"])
def test_a_split_that_is_missing_is_left_out(missing):
    embeddings = fold(distance=5.0)
    keep = np.array(embeddings.splits) != missing
    less = FoldEmbeddings(
        embeddings.values[keep],
        embeddings.targets[keep],
        [split for split in embeddings.splits if split != missing],
    )
    described = describe_embeddings([less], CLASSES)
    assert missing not in described["rows"]
    assert missing not in described["probe"]
    assert missing not in described["distance"]
    assert described["distance"]


def test_a_fold_without_train_rows_is_only_counted():
    lone = changed(fold(), splits=["test"] * 90)
    described = describe_embeddings([lone], CLASSES)
    assert described["rows"] == {"test": 90}
    assert (described["probe"], described["distance"], described["points"]) == (None, {}, [])
    both = describe_embeddings([lone, fold()], CLASSES)
    assert both["distance"] == describe_embeddings([fold()], CLASSES)["distance"]


def test_one_row_a_split_is_enough_to_go_on():
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    tiny = FoldEmbeddings(values, np.array([0, 1]), ["train", "test"])
    described = describe_embeddings([tiny], CLASSES)
    assert described["distance"] == {}
    assert len(described["points"]) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"splits": ["train"]}, "90, 90, 1"), ({"splits": ["dev"] * 90}, "dev")],
)
def test_rows_that_do_not_fit_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        changed(fold(), **changes)


def test_no_fold_is_rejected():
    with pytest.raises(ValueError, match="no fold"):
        describe_embeddings([], CLASSES)
