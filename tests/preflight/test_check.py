"""The check as a whole: nothing is found where nothing is wrong, and how it is told."""

import json

import pytest
import yaml

from polymodal.config.compose import CONFIGS, available_choices, compose, top_level_keys
from polymodal.config.provenance import provenance_of
from polymodal.experiment.deep_equal import deep_equal
from polymodal.preflight.check import Report, check_all, check_fast
from polymodal.preflight.compose_all import compose_all

SMALL = ["corpus.num_speakers=6", "corpus.num_utterances=8"]


@pytest.mark.slow  # tests/experiments/test_shipped.py runs all of them, and looks for warnings
def test_nothing_is_found_in_any_shipped_experiment(workplace):
    names = available_choices("experiment")
    assert len(names) >= 28
    for name in names:
        composed, faults = compose_all([f"experiment={name}"])
        report = Report(faults)
        check_fast(composed, report)
        assert not report.findings, (name, [one.text() for one in report.findings])


def test_nothing_is_found_in_the_data_and_the_dry_run_of_the_sample(workplace, shape_checks_off):
    for name in ("fusion", "valence_arousal"):
        report = check_all([f"experiment=sample/{name}", *SMALL], full=True, with_effects=True)
        assert not report.findings, [one.text() for one in report.findings]
        assert report.estimates["trainable"] > 10_000
        assert report.estimates["epoch_on_this_cpu_s"] > 0


@pytest.mark.parametrize(
    "task", ["classification", "soft_labels", "multilabel", "regression", "joint"]
)
def test_every_task_passes_its_dry_run(workplace, shape_checks_off, task):
    chosen = ["encoder=[bytes]", "model=unimodal", f"task={task}", *SMALL]
    report = check_all(chosen)
    assert not report.findings, [one.text() for one in report.findings]
    assert report.estimates["trainable"] > 1000


def test_corpora_and_large_models_that_are_not_here_are_notes(workplace, shape_checks_off):
    report = check_all(["experiment=kemdy20/fusion"])
    assert not report.findings
    words = " ".join(report.notes)
    for word in ("there is no folder", "facebook/hubert-base-ls960", "klue/roberta-base"):
        assert word in words


def test_the_command_prints_all_and_exits_2(polymodal):
    wrong = ["model=unimodl", "seed=one", "optimizer.lr=-1"]
    code, out, _ = polymodal("check", *wrong, *SMALL)
    assert code == 2
    for word in ("'unimodl'", "seed='one'", "learning rate: -1", "the command line (seed=one)"):
        assert word in out
    assert "3 errors, 0 warnings" in out


def test_json_has_file_line_key_reason_and_remedy(polymodal, workplace):
    folder = workplace / "configs" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("# @package _global_\ntrainer:\n  gpus: 1\n")
    code, out, _ = polymodal("check", "experiment=mine", "+sed=1", *SMALL, "--json")
    said = json.loads(out)
    assert code == 2
    assert not said["ok"]
    found = {one["key"]: one for one in said["findings"]}
    gpus = found["trainer.gpus"]
    assert (gpus["file"], gpus["line"]) == (str(folder / "mine.yaml"), 3)
    assert "Lightning 2.0" in gpus["reason"]
    assert "devices: N" in gpus["remedy"]
    assert found["sed"]["override"] == "+sed=1"
    assert found["sed"]["severity"] == "error"
    assert {"keys", "targets", "fields", "data", "dry run"} <= set(said["seconds"])


def test_a_sound_experiment_exits_0(polymodal):
    code, out, _ = polymodal("check", *SMALL, "encoder=[bytes]", "model=unimodal")
    assert code == 0
    assert "no problems found" in out


def test_run_says_all_of_it_and_starts_nothing(polymodal, workplace):
    wrong = ["model=unimodl", "seed=one", "trainer.max_epoch=3", "task.monitor=uarr"]
    code, out, error = polymodal("run", *wrong)
    assert (code, out) == (2, "")
    for word in ("'unimodl'", "seed='one'", "'trainer.max_epochs'", "val/uarr"):
        assert word in error
    assert not (workplace / "runs").exists()


def test_hydra_still_tells_what_it_merges(workplace):
    """The hook of `assemble.layers` into Hydra: without it no finding would have a line."""
    composed = compose(["experiment=sample/valence_arousal", "trainer.max_epochs=3"])
    names = [one.name for one in composed.layers]
    assert names.index("experiment/sample/fusion") > names.index("run")
    assert names[-1] == "experiment/sample/valence_arousal"
    origins = provenance_of(composed)
    assert str(origins.find("trainer.max_epochs")) == "the command line (trainer.max_epochs=3)"
    width = origins.find("encoder.speech.width")
    assert width.file == CONFIGS / "experiment" / "sample" / "fusion.yaml"
    assert "width" in width.file.read_text().splitlines()[width.line - 1]


def test_top_level_keys_are_those_that_a_composition_has(workplace):
    for root in ("run", "corpus", "vote"):
        assert set(compose([], config_name=root).config) <= set(top_level_keys(root))


def test_yaml_that_means_what_it_says_is_left_alone(workplace):
    folder = workplace / "configs" / "experiment"
    folder.mkdir(parents=True)
    text = {
        "optimizer": {"lr": 1e-3},
        "encoder": {"speech": {"spec_augment": True}},
        "trainer": {"deterministic": False},
    }
    plain = yaml.safe_dump(text).replace("0.001", "1e-3").replace("true", "on")
    (folder / "mine.yaml").write_text(f"# @package _global_\n{plain}")
    composed, faults = compose_all(["experiment=mine"])
    report = Report(faults)
    check_fast(composed, report)
    assert not report.findings, [one.text() for one in report.findings]


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ({"a": [1, (2.0, "x")]}, {"a": [1, (2.0, "x")]}, True),
        ({"a": 1}, {"a": 2}, False),
        ([1], (1,), False),
        (lambda x=1: x, lambda x=1: x, False),
    ],
)
def test_likeness(one, other, wanted):
    assert deep_equal(one, other) is wanted
