"""`polymodal show`: one run, as it stands in its folder."""

import json
import math
from pathlib import Path

import pytest

from polymodal.cli.show import MAX_CURVE_WIDTH, sparkline
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.metrics_log import MetricsLog, read_metrics
from polymodal.tracking.run_folder import RunFolder, write_record

WHOLE = ("--config", "--files")
CONFIG = "corpus:\n  root: x\npaths:\n  runs: hidden\nmodel:\n  width: 64\nhydra:\n  x: hidden\n"


@pytest.fixture
def run(workplace):
    record = RunRecord(
        "",
        "emodb",
        experiment="emodb/egemaps",
        seed=7,
        command=["polymodal", "run", "experiment=emodb/egemaps"],
        versions={"torch": "2.13.0"},
        code={"commit": "abc123", "dirty": True},
        data={"rows": 535, "classes": {"anger": 127}, "folds": 2},
    )
    made = RunFolder.create(workplace / "runs", record)
    made.write_config(CONFIG)
    made.write_overrides(["experiment=emodb/egemaps", "seed=7"])
    made.finish("finished", scores={"val/uar": 0.61, "test/uar": 0.71, "test/loss": math.nan})
    return made


def test_everything_about_the_run_is_said(polymodal, run):
    code, out, error = polymodal("show", "last", *WHOLE)
    assert (code, error) == (0, "")
    for words in (
        f"{run.record.run_id} · run · finished in ",
        "command  polymodal run experiment=emodb/egemaps",
        "changed  experiment=emodb/egemaps seed=7",
        "seed  7",
        "rows 535, classes (anger 127), folds 2",
        "commit abc123, dirty True",
        "torch 2.13.0",
        "width: 64",
        "run.json",
        "files, ",
    ):
        assert words in out, words
    assert "hidden" not in out
    assert "fold" not in out.replace("folds 2", "")


def test_the_test_scores_come_first(polymodal, run):
    lines = [line.split() for line in polymodal("show", "last")[1].splitlines()]
    assert ["┃", "score", "┃", "test", "┃", "val", "┃"] in lines
    assert ["│", "uar", "│", "0.710", "│", "0.610", "│"] in lines
    assert ["│", "loss", "│", "│", "│"] in lines  # no number


def test_each_fold_has_a_row_in_the_order_of_numbers(polymodal, run):
    for index in (10, 2):
        (run.path / "folds" / str(index)).mkdir(parents=True)
        notes = {"assignment": {"speaker": [f"s{index}"]}}
        record = RunRecord("x", "x", fold=index, scores={"test/uar": index / 20}, notes=notes)
        write_record(run.path / "folds" / str(index) / "run.json", record)
    (run.path / "folds" / "notes").mkdir()
    out = polymodal("show", "last")[1]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert [(row[0], row[1], row[-1]) for row in rows if row and "speaker" in row[-1] + row[0]] == [
        ("2", "0.100", "speaker s2"),
        ("10", "0.500", "speaker s10"),
    ]
    assert any(row[:2] == ["pooled", "0.710"] for row in rows)
    folds = json.loads(polymodal("show", "last", "--json")[1])["folds"]
    assert [fold["fold"] for fold in folds] == [2, 10]


def test_configuration_and_files_are_shown_if_asked_for(polymodal, run):
    brief, whole = polymodal("show", "last")[1], polymodal("show", "last", *WHOLE)[1]
    assert "config.yaml" not in brief
    assert "versions" not in brief
    assert "--files" in brief
    assert "config.yaml" in whole
    assert "versions" in whole


def test_curves_of_the_validation_scores(polymodal, run):
    journal = MetricsLog(run.metrics)
    for step, value in enumerate([0.1, 0.2, 0.9, 0.4]):
        journal.log({"val/uar": value, "train/loss": 1.0}, step=step)
    journal.log({"val/uar": 0.3}, step=2)  # the run went on from step 1: said anew
    journal.log({"val/loss": math.nan}, step=9)
    journal.close()
    out = polymodal("show", "last")[1]
    assert "val/uar  0.100 ▁▃▅█ 0.400" in out
    assert "val/loss" not in out


def test_curves_of_folds_stay_apart(polymodal, run):
    journal = MetricsLog(run.metrics)
    for fold in (0, 1):
        for step in range(3):
            journal.log(
                {"val/uar": (step + fold) / 9, "val/loss": 1.0 - step}, step=step, fold=fold
            )
    journal.close()
    out = polymodal("show", "last")[1]
    assert "val/uar fold 0  0.000 ▁▄█ 0.222" in out
    assert "val/uar fold 1  0.111 ▁▄█ 0.333" in out
    assert "val/loss" not in out


def test_json_is_the_record_with_its_path_and_nothing_else(polymodal, run):
    code, out, error = polymodal("show", run.record.run_id[:17], "--json")
    values = json.loads(out)
    assert (code, error) == (0, "")
    assert values.pop("path").endswith(run.record.run_id)
    assert values.pop("folds") == []
    assert values == json.loads((run.path / "run.json").read_text())


def test_a_failed_run_says_why(polymodal, run):
    run.finish("failed", error="ValueError: [bold]no\x1b[2J data")
    out = polymodal("show", "last", *WHOLE)[1]
    assert "error  ValueError: [bold]no?[2J data" in out


def test_a_damaged_journal_is_named_and_the_rest_is_shown(polymodal, run):
    run.metrics.write_text('{"val/uar": 0.1}\n\x00\n{"val/uar": 0.2}\n')
    code, out, _ = polymodal("show", "last", *WHOLE)
    assert code == 0
    assert "metrics.jsonl line 2" in out
    assert "width: 64" in out


def test_a_folder_with_nothing_but_its_record_is_shown(polymodal, workplace):
    (workplace / "bare").mkdir()
    (workplace / "bare" / "run.json").write_text('{"run_id": "bare"}')
    code, out, _ = polymodal("show", "bare")
    assert code == 0
    assert "bare · run · running" in out
    assert "not under git" in out


@pytest.mark.parametrize(
    ("name", "words"),
    [("last", "no last run"), ("x", "no run 'x'"), ("bad", "cannot be read")],
)
def test_no_such_run_is_bad_input(polymodal, workplace, name, words):
    (workplace / "bad").mkdir()
    (workplace / "bad" / "run.json").write_text("{")
    code, out, error = polymodal("show", name, *WHOLE)
    assert (code, out) == (2, "")
    assert words in error
    assert "Traceback" not in error


def test_a_long_configuration_is_cut_and_the_cut_is_said(polymodal, run):
    run.write_config("model:\n" + "".join(f"  key_{number}: 1\n" for number in range(159)))
    out = polymodal("show", "last", *WHOLE)[1]
    assert "key_118" in out
    assert "key_119" not in out
    assert f"and 40 more lines in runs/{run.record.run_id}/config.yaml" in out


@pytest.mark.parametrize("text", ["a: [1\n", "- 1\n- 2\n", "just words\n"])
def test_a_configuration_of_another_program_is_shown_as_it_is(polymodal, run, text):
    run.config.write_text(text)
    out = polymodal("show", "last", *WHOLE)[1]
    assert text in out


def test_lists_of_the_configuration_take_one_line_and_nested_ones_several(polymodal, run):
    run.write_config("corpus:\n  classes:\n  - 기쁨\n  - 슬픔\n  where:\n  - a: 1\n")
    out = polymodal("show", "last", *WHOLE)[1]
    assert "  classes: [기쁨, 슬픔]\n  where:\n  - a: 1\n" in out


@pytest.mark.parametrize("columns", [80, 160])
def test_in_a_terminal_long_values_are_wrapped_under_their_own_column(run, terminal, columns):
    words = [f"word{number}" for number in range(40)]
    run.update(command=["/x/polymodal/__main__.py", "run", *words], data={"sha256": "a" * 64})
    lines = terminal(columns, "show", "last", *WHOLE).splitlines()
    assert max(map(len, lines)) <= columns
    first = next(place for place, line in enumerate(lines) if line.startswith("  command  "))
    wrapped = [lines[first], *lines[first + 1 : first + 6]]
    block = [line for line in wrapped if line.startswith("  command  ") or not line[:11].strip()]
    assert " ".join(line[11:].strip() for line in block) == f"polymodal run {' '.join(words)}"
    assert len(block) == {80: 5, 160: 2}[columns]
    assert f"     data  sha256 {'a' * 12}" in lines
    assert lines[0].startswith(run.record.run_id)
    assert "width: 64" in "".join(lines)


def test_names_that_look_like_markup_are_shown_as_they_are(polymodal, run):
    scores = {"test/[/red]": 0.5, "[bold]/uar": 0.6}
    run.finish("finished", scores=scores)
    (run.path / "folds" / "0").mkdir(parents=True)
    notes = {"assignment": {"speaker": ["[/x]"]}}
    write_record(
        run.path / "folds" / "0" / "run.json",
        RunRecord("x", "x", fold=0, scores=scores, notes=notes),
    )
    code, out, _ = polymodal("show", "last", *WHOLE)
    assert code == 0
    assert all(words in out for words in ("[/red]", "[bold]", "speaker [/x]"))


def test_a_file_that_vanishes_meanwhile_is_left_out(polymodal, run, monkeypatch):
    (run.path / ".run.json.0123").write_text("half")
    is_file = Path.is_file

    def renamed(path):
        there = is_file(path)
        if path.name.startswith(".run.json."):
            path.unlink(missing_ok=True)
        return there

    monkeypatch.setattr(Path, "is_file", renamed)
    code, out, _ = polymodal("show", "last", *WHOLE)
    assert code == 0
    assert ".run.json." not in out
    assert "overrides.txt" in out


def test_numbers_that_are_no_json_leave_the_rest_of_a_curve(polymodal, run):
    run.metrics.write_text(
        "".join(f'{{"val/uar": {one}, "step": {n}}}\n' for n, one in enumerate(["0.1", "NaN", "1"]))
    )
    assert "val/uar  0.100 ▁█ 1.000" in polymodal("show", "last")[1]


@pytest.mark.parametrize("length", [1, 2, 59, 60, 61, 1000])
def test_a_curve_is_never_wider_than_the_page_and_ends_with_its_end(length):
    drawn = sparkline([0.0] * (length - 1) + [1.0])
    assert 1 <= len(drawn) <= MAX_CURVE_WIDTH
    assert drawn[-1] == ("▁" if length == 1 else "█")


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([3.0, 3.0, 3.0], "▁▁▁"),
        ([0.0], "▁"),
        ([math.nan, 1.0, math.inf, 2.0, -math.inf], " ▁ █ "),
        ([math.nan, math.nan], "  "),
        ([-1.7e308, 0.0, 1.7e308], "▁▄█"),
    ],
)
def test_constants_and_what_is_no_number_are_drawn(values, drawn):
    assert sparkline(values) == drawn


def test_of_several_runs_it_is_told_what_differs(polymodal, run):
    other = RunFolder.create(run.path.parent, RunRecord("", "x", experiment="x"))
    other.write_config(CONFIG.replace("64", "128").replace("hidden", "other"))
    code, out, error = polymodal("show", run.path.name, other.path.name)
    assert (code, error) == (0, "")
    head, _, *rows = (line.split() for line in out.splitlines())
    assert head == ["key", run.path.name, other.path.name]
    assert rows == [["model.width", "64", "128"]]
    found = json.loads(polymodal("show", run.path.name, other.path.name, "--json")[1])
    assert found["differ"] == {"model.width": [64, 128]}
    assert "are the same" in polymodal("show", run.path.name, run.path.name)[1]


def test_a_hundred_thousand_scores_in_a_step_are_kept_and_told_in_short(polymodal, run):
    many = {f"val/s{number}": float(number) for number in range(100_000)}
    journal = MetricsLog(run.metrics)
    for step in range(2):
        journal.log(many, step=step, epoch=step)
    journal.close()
    run.finish("finished", scores={**many, "test/uar": 0.5})
    code, out, error = polymodal("show", "last")
    assert (code, error) == (0, "")
    assert "more scores: --json has all" in out
    assert len(out.splitlines()) < 200
    assert len(json.loads(polymodal("show", "last", "--json")[1])["scores"]) > 100_000
    lines = read_metrics(run.metrics)
    assert [line["val/s99999"] for line in lines] == [99_999.0] * 2
    assert "val/s" not in polymodal("runs")[1]


def test_encoders_of_other_runs_are_named(polymodal, run):
    speech = {"run": "r1", "mode": "frozen", "layer": 6, "digests": ["a" * 64], "corpus": "kemdy"}
    run.update(encoders={"speech": speech}, data={"corpus": "emodb"})
    out = polymodal("show", "last")[1]
    (line,) = [line for line in out.splitlines() if "speech from" in line]
    assert (
        line.split("  ")[-1]
        == "r1, frozen, layer 6, trained on another corpus: kemdy, 1 checkpoint"
    )
    assert json.loads(polymodal("show", "last", "--json")[1])["encoders"] == {"speech": speech}
