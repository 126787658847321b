"""Sweeps and studies are checked as a whole: what is wrong with one job or member is said of it."""

import pytest

from polymodal.config.compose import available_choices
from polymodal.config.sweep import MAX_JOBS, sweep_jobs
from polymodal.study.check import check_study, check_sweep

SMALL = ["corpus.num_speakers=6", "corpus.num_utterances=8"]
STUDY = """members:
  speech: experiment=sample/speech optimizer.lr=-1
  fusion: experiment=sample/fusion model.num_heads=5
votes:
  soft: {of: [speech, fusion], ensemble: sofft}
shared: [seed=one, corpus.num_speakers=6, corpus.num_utterances=8]
score: uarr
"""


def project(workplace, group, text):
    file = workplace / "configs" / group / "mine.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def by_key(report):
    return {finding.key: finding for finding in report.findings}


def test_a_sweep_names_the_jobs_that_would_fail(workplace, shape_checks_off):
    report = check_sweep(["model.num_heads=4,5", "seed=0,1", "sed=1", *SMALL], fast=True)
    findings = by_key(report)
    assert findings["sed"].of == ()  # all jobs have it
    assert findings["model.num_heads"].of == (
        "model.num_heads=5 seed=0",
        "model.num_heads=5 seed=1",
    )
    assert len(report.members) == 4
    assert "4 jobs" in " ".join(report.notes)


def test_names_that_a_file_sweeps_over_must_exist(workplace, shape_checks_off):
    text = "# @package _global_\nhydra:\n  sweeper:\n    params:\n      modle.width: 32,64\n"
    project(workplace, "experiment", text)
    report = check_sweep(["experiment=mine", *SMALL], fast=True)
    assert by_key(report)["modle.width"].hint.startswith("did you mean 'model.width'")


def test_what_a_sweeper_draws_from_is_left_to_it():
    assert sweep_jobs(["optimizer.lr=interval(0,1)", "seed=range(3)"]) == (
        [["seed=0"], ["seed=1"], ["seed=2"]],
        0,
    )


def test_of_a_long_sweep_the_rest_is_counted():
    jobs, left_out = sweep_jobs(["seed=range(100)", "model.width=8,16"])
    assert (len(jobs), left_out) == (MAX_JOBS, 200 - MAX_JOBS)


def test_run_starts_no_job_where_the_last_one_has_a_fault(polymodal, workplace):
    code, _, err = polymodal("run", "-m", "seed=0,1", "model.num_heads=4,5", *SMALL)
    assert code == 2
    assert "5 heads" in err
    assert "of: seed=0 model.num_heads=5, seed=1 model.num_heads=5" in err
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed=0,1,,", "cannot be read"),
        ("seed", "is not an option with a value"),
        ("seed=range(0,3,0)", "cannot be read"),
    ],
)
def test_an_override_that_does_not_parse_is_quoted(polymodal, word, message):
    code, out, _ = polymodal("check", "-m", word)
    assert code == 2
    assert f"{word!r} {message}" in out


def test_several_values_without_a_sweep_are_told_from_a_list(polymodal):
    code, out, _ = polymodal("check", "seed=0,1", *SMALL)
    assert code == 2
    assert "add -m" in out
    assert "seed=[0,1]" in out


def test_an_override_of_a_removed_option_says_what_takes_its_place(polymodal):
    code, out, _ = polymodal("check", "trainer.gpus=1", *SMALL)
    assert code == 2
    assert "removed in Lightning 2.0" in out
    assert "devices: N" in out


def test_a_study_is_checked_with_the_lines_of_its_file(workplace, shape_checks_off):
    file = project(workplace, "study", STUDY)
    findings = by_key(check_study(["study=mine"]))
    assert findings["ensemble"].hint == "did you mean 'soft'?"
    assert findings["ensemble"].of == ("soft",)
    assert findings["seed"].of == ("speech", "fusion")
    assert findings["study.score"].hint == "did you mean 'uar'?"
    lines = {"optimizer.lr": 2, "model.num_heads": 3, "ensemble": 5, "seed": 6, "study.score": 7}
    for key, line in lines.items():
        assert (findings[key].origin.file, findings[key].origin.line) == (file, line), key


def test_a_member_that_cannot_be_composed_is_said_with_its_line(workplace, shape_checks_off):
    file = project(workplace, "study", STUDY.replace("sample/fusion", "sample/fuson"))
    finding = by_key(check_study(["study=mine"]))["experiment"]
    assert (finding.origin.file, finding.origin.line, finding.of) == (file, 3, ("fusion",))


def test_a_vote_over_an_unknown_member_is_said_with_its_line(workplace, shape_checks_off):
    file = project(workplace, "study", STUDY.replace("[speech, fusion]", "[speach, fusion]"))
    (finding,) = check_study(["study=mine"]).findings
    assert (finding.origin.file, finding.origin.line) == (file, 5)
    assert finding.hint == "did you mean 'speech'?"


@pytest.mark.slow  # each member of has a dry run
def test_nothing_is_found_in_any_shipped_study(workplace, shape_checks_off):
    names = available_choices("study")
    assert len(names) >= 7
    for name in names:
        report = check_study([f"study={name}"])
        assert not report.findings, (name, [finding.text() for finding in report.findings])


def test_nothing_is_found_in_the_study_of_the_sample(polymodal):
    small = ",".join(f"'{override}'" for override in SMALL)
    code, out, _ = polymodal("check", "study=sample/fusion_vs_voting", f"study.shared=[{small}]")
    assert code == 0, out
    assert "estimate of fusion" in out
