"""Rules on an experiment as objects: `run` and `check` judge alike."""

from pathlib import Path

import polars as pl
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


@pytest.mark.parametrize(
    ("loss", "is_found"), [([], False), (["loss=balanced"], True), (["loss=focal"], False)]
)
def test_balance_by_sampling_and_by_weights_is_a_warning(workplace, loss, is_found):
    findings = check_all([*SMALL, "data.sampling=balanced", *loss]).findings
    assert ("balanced twice" in {finding.rule for finding in findings}) is is_found
    assert not [finding for finding in findings if finding.is_error]


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


def test_equal_audio_in_training_and_test_is_refused_where_the_split_promises_others(workplace):
    manifest = prepare_experiment(compose([*SMALL]).resolved()).manifest
    same = {"audio_sha256": pl.lit("0" * 64), "start_s": None, "duration_s": None}
    manifest.take(manifest.frame.drop("transcript").with_columns(**same)).write(Path("m.parquet"))
    classes = manifest.frame["label"].drop_nulls().unique().sort().to_list()
    options = ["corpus=manifest", "corpus.file=m.parquet", f"corpus.classes=[{','.join(classes)}]"]
    text = ["encoder=characters", "model=unimodal", *options]
    with pytest.raises(ConfigError, match=r"test rows of fold 0 have the same audio as a training"):
        prepare_experiment(compose(text).resolved())
    for more in (["split=random"], ["stages=[test]"]):
        assert prepare_experiment(compose([*text, *more]).resolved()).folds
    found = {one.rule: one.severity for one in check_all([*text, "split=random"]).findings}
    assert found["equal audio"] == "warning"
