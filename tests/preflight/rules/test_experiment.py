"""Rules on an experiment as objects: `run` and `check` judge alike."""

import pytest

from polymodal.config.compose import compose
from polymodal.errors import ConfigError
from polymodal.preflight.check import check_all
from polymodal.preflight.prepare import prepare_experiment

SMALL = ("experiment=sample/text", "corpus.num_speakers=6", "corpus.num_utterances=8")
FAULTS = [
    (["selection.grid={optimizer.lr:[0.1,0.2]}"], "selection.grid", "inner folds"),
    (["selection.out_of_fold=true"], "selection.out_of_fold", "inner folds"),
    (["split=nested"], "split", "inner folds"),
    (["split.val=0"], "callbacks.early_stopping.monitor", "never validated"),
    (["task.classes=[neutral,happy]"], "task.classes", "unknown label"),
    (["task=regression", "task.values=[valence]", "data.sampling=balanced"], "data.sampling", ""),
]


@pytest.mark.parametrize(("options", "key", "rule"), FAULTS, ids=lambda value: str(value)[:30])
def test_run_refuses_what_check_finds(workplace, shape_checks_off, options, key, rule):
    findings = {one.key: one for one in check_all([*SMALL, *options]).findings if one.is_error}
    assert key in findings
    assert rule in ("", findings[key].rule)
    with pytest.raises(ConfigError) as refused:
        prepare_experiment(compose([*SMALL, *options]).resolved())
    assert findings[key].message in str(refused.value)


def test_a_sound_experiment_is_prepared(workplace):
    assert prepare_experiment(compose([*SMALL]).resolved()).folds


def test_faults_of_an_encoder_leave_the_rows_to_be_judged(workplace, shape_checks_off):
    options = ["encoder.text.widht=4", "task.classes=[neutral,happy]"]
    keys = {finding.key for finding in check_all([*SMALL, *options]).findings}
    assert keys >= {"encoder.text.widht", "task.classes"}


@pytest.mark.parametrize("fault", ["encoder.text.num_heads=5", "+balance.nosuch=1"])
def test_a_part_with_a_fault_does_not_end_the_check(workplace, shape_checks_off, fault):
    key = fault.lstrip("+").partition("=")[0]
    assert key in {finding.key for finding in check_all([*SMALL, fault]).findings}
