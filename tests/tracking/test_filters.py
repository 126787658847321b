"""Filters over runs: fields, scores, times, keys of the configuration."""

from datetime import UTC, datetime

import pytest

from polymodal.errors import ConfigError, RunError
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.filters import MISSING, matches, parse, validate_keys, value_of

NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)
RECORD = RunRecord(
    "20260510-1",
    "x",
    status="failed",
    experiment="emodb/egemaps",
    seed=3,
    scores={"test/uar": 0.7, "test/loss": None},
    started="2026-05-09T12:00:00+00:00",
)
CONFIG = {"optimizer": {"lr": 1e-3}, "resume": None, "model": {"deep": True, "name": "a"}}


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("status=failed", True),
        ("status!=failed", False),
        ("experiment=emodb/egemaps", True),
        ("corpus=emodb", True),
        ("corpus=sample", False),
        ("seed=3", True),
        ("seed>3", False),
        ("seed>=3.0", True),
        ("test/uar>0.69", True),
        ("test/uar<0.7", False),
        ("test/uar<=0.7", True),
        ("test/loss<1", False),
        ("test/loss!=1", True),
        ("val/uar>0", False),
        ("since=2d", True),
        ("since=23h", False),
        ("since=2026-05-09", True),
        ("until=2026-05-09", False),
        ("until=1d", False),
        ("until=12h", True),
        ("optimizer.lr=0.001", True),
        ("optimizer.lr=1e-3", True),
        ("optimizer.lr<0.01", True),
        ("model.deep=true", True),
        ("model.name=a", True),
        ("model.name>1", False),
        ("resume=null", True),
        ("resume!=null", False),
        ("model.width=3", False),
        ("parent=null", True),
    ],
)
def test_each_kind_of_filter(word, wanted):
    assert matches(RECORD, parse([word], NOW), CONFIG) is wanted


def test_all_must_hold():
    assert matches(RECORD, parse(["seed=3", "status=failed"], NOW), {})
    assert not matches(RECORD, parse(["seed=3", "status=killed"], NOW), {})


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("failed", "is not a filter"),
        ("status=faild", "did you mean 'failed'"),
        ("since=soon", "is not a time"),
        ("since=999999d", "is not a time"),
        ("since=99999999999999d", "is not a time"),
        ("since=0001-01-01", "is not a time"),
        ("since<7d", "since=TIME"),
        ("until!=30d", "until=TIME"),
        ("seed>many", "not a number"),
        ("scores=1", "is not one value"),
    ],
)
def test_what_is_no_filter_is_refused(word, message):
    with pytest.raises(ConfigError, match=message):
        parse([word], NOW)


@pytest.mark.parametrize(
    ("key", "hint"), [("test/uarr", "test/uar"), ("optimizer.lrr", "optimizer.lr")]
)
def test_a_key_that_no_run_has_is_refused(key, hint):
    with pytest.raises(RunError, match=f"no run here has '{key}'(?s:.)*'{hint}'"):
        validate_keys([key], [RECORD], [CONFIG])
    validate_keys([key], [], [])


def test_a_run_that_is_half_there_lacks_what_is_asked():
    assert value_of(RECORD, "optimizer.lr", {}) is MISSING
    assert value_of(RECORD, "optimizer.lr.more", CONFIG) is MISSING
