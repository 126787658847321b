"""The tables of a study: they read back, print best values in bold, and no name breaks them."""

import csv
import io
import re

import pytest

from polymodal.report.format import MINUS, NONE, csv_text, latex, markdown
from polymodal.report.study_tables import (
    comparison_rows,
    lower_is_better,
    ranked,
    score_keys,
    score_rows,
    score_table,
    write_tables,
)

ODD = r"a_b & 100% $x$ #1 {y} \z ~ ^ <i> | [q] * é"


def score(mean, low=None, high=None):
    return {"mean": mean, "low": low, "high": high, "n": 96}


def summary(**changes):
    members = {
        "speech": {"scores": {"test/ece": score(0.1), "test/uar": score(0.44, 0.4, 0.49)}},
        "soft": {"kind": "vote", "scores": {"test/uar": score(0.57), "test/ece": score(0.2)}},
        ODD: {"scores": {"test/uar": score(float("nan")), "test/ece": score(None)}},
        "failed": {},
    }
    compared = {"a": "speech", "b": ODD, "score": "uar", "difference": -0.13, "p": 0.0004}
    compared |= {"low": -0.18, "high": -0.08, "p_corrected": float("nan"), "verdict": "so | so"}
    usual = {"study": "1", "name": "s", "status": "finished", "score": "uar", "members": members}
    usual["higher_is_better"] = {"ece": False}
    return {**usual, "comparisons": [compared], **changes}


def cells_of_markdown(text):
    """Unescaped cells, as a reader of Markdown sees them."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines()]
    return [[re.sub(r"\\(.)", r"\1", cell.strip()) for cell in row] for row in rows]


def test_csv_reads_back_with_every_digit_and_empty_cells_for_none():
    third = 1 / 3
    members = {ODD + '", \n': {"scores": {"test/uar": score(third, float("nan"), float("inf"))}}}
    told = csv_text(score_rows(summary(members=members)))
    (row,) = csv.DictReader(io.StringIO(told))
    assert row["member"] == ODD + '", \n'
    assert float(row["mean"]) == third
    assert (row["low"], row["high"], row["n"]) == ("", "", "96")
    (compared,) = csv.DictReader(io.StringIO(csv_text(comparison_rows(summary()))))
    assert float(compared["difference"]) == -0.13
    assert compared["p_corrected"] == compared["unit"] == ""


def test_markdown_reads_back_with_any_name():
    rows = cells_of_markdown(markdown(score_table(summary())))
    assert rows[0] == ["member", "kind", "uar ↑", "ece ↓"]
    assert [row[0] for row in rows[2:]] == ["speech", "soft", ODD, "failed"]
    assert rows[2][2:] == [".440 [.400, .490]", "**.100**"]
    assert rows[3][2:] == ["**.570**", ".200"]
    assert rows[4][2:] == rows[5][2:] == [NONE, NONE]


def test_latex_escapes_every_sign_that_means_something_to_it():
    told = latex([["member", "x"], [ODD, f"{MINUS}.1"]], "title\nwith 100 %")
    (row,) = [line for line in told.splitlines() if line.startswith("a")]
    assert row == (
        r"a\_b \& 100\% \$x\$ \#1 \{y\} \textbackslash{}z \textasciitilde{} \textasciicircum{} "
        r"\textless{}i\textgreater{} \textbar{} {[}q] {*} é & $-$.1 \\"
    )
    assert told.splitlines()[0].startswith("% title␚with 100 %;")
    assert [line for line in told.splitlines() if line.startswith("\\")] == [
        r"\begin{tabular}{lr}",
        *(r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"),
    ]


def test_only_the_best_mean_is_bold_and_the_smallest_where_that_is_better():
    told = latex(score_table(summary()), "")
    assert told.count(r"\textbf") == 2
    assert r"\textbf{.570} & .200" in told
    assert r".440 {[}.400, .490] & \textbf{.100}" in told
    assert r"\textbf" not in latex(score_table(summary(members={"a": {}})), "")


def test_the_main_score_comes_first_and_its_members_from_the_best_to_those_without():
    assert score_keys(summary()) == ["test/uar", "test/ece"]
    assert score_keys(summary(score="test/ece"))[0] == "test/ece"
    assert ranked(summary(), "test/uar") == ["soft", "speech", ODD, "failed"]
    assert ranked(summary(), "test/ece") == ["speech", "soft", ODD, "failed"]
    assert ranked(summary(), "test/uar", "member") == ["speech"]


def test_a_summary_may_name_the_scores_whose_smaller_value_is_better():
    assert lower_is_better("test/maestro", {"higher_is_better": {"maestro": False}})
    assert not lower_is_better("test/rmse", {})  # nothing is guessed from a name
    assert lower_is_better("test/hamming", {"lower_is_better": ["hamming"]})
    assert not lower_is_better("test/ece", {"lower_is_better": []})


@pytest.mark.parametrize("changes", [{}, {"members": {}, "comparisons": None}])
def test_all_six_files_are_written_and_equal_when_written_again(tmp_path, changes):
    for folder in ("a", "b"):
        write_tables(summary(**changes), tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    ends = ("csv", "md", "tex")
    assert names == [f"{one}.{end}" for one in ("comparisons", "scores") for end in ends]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    printed = (tmp_path / "a" / "comparisons.tex").read_text(encoding="utf-8")
    assert "verdict" not in printed
    assert "p corrected" in printed
