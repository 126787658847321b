"""The page of a study: it answers first, shows what there is, and takes no name as HTML."""

import re
from html.parser import HTMLParser

import pytest

from polymodal.errors import RunError
from polymodal.report.sections import PlayableExample
from polymodal.report.study_page import SECTIONS, write_report

EVIL = '<script>alert("x")</script>&<!-- -- ]]> $x_1$ \x00'
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """Elements that ever were, their attributes, what stands between them; all are closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.attributes, self.words = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += [data] if "style" not in self.open else []

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def score(mean, width=0.05):
    return {"mean": mean, "low": mean - width, "high": mean + width, "n": 96}


def member(mean, name="", **more):
    return {
        "kind": "member",
        "scores": {"test/accuracy": score(mean + 0.1), "test/uar": score(mean)},
        "gap": {"score": "uar", "train": mean + 0.2, "against": "val", "other": mean},
        "curve": [{"share": one, **score(mean * one)} for one in (0.5, 1.0)],
        "subsets": {
            f"speech{name}": {"test/uar": score(0.3)},
            f"speech{name}+text{name}": {"test/uar": score(mean)},
        },
        "confusion": [[40, 10], [0, 0]],
        "per_speaker": {f"s1{name}": 0.2, f"s2{name}": mean},
        "reliability": [[0.4, 0.3, 20], [0.9, 0.7, 30]],
        "errors": [
            {"utterance_id": f"u{name}", "speaker": f"s1{name}", "sure": 0.9}
            | {"label": f"calm{name}", "predicted": f"joy{name}"}
        ],
        **more,
    }


def compared(a, b, difference, p, **more):
    low, high = difference - 0.05, difference + 0.05
    words = f"{a} is better than {b} by .130 (sure)"
    if p >= 0.05:
        words = f"no difference can be claimed between {a} and {b} (unsure)"
    one = {"a": a, "b": b, "score": "uar", "difference": difference, "low": low, "high": high}
    known = {"p": p / 3, "p_corrected": p, "unit": "speaker", "num_units": 12, "verdict": words}
    return {**one, **known, **more}


def embeddings(name=""):
    points = [
        {"split": split, "label": f"joy{name}", "x": 0.5, "y": -1.0} for split in ("train", "test")
    ]
    probe = {"train": 0.98, "val": 0.6, "test": 0.55}
    return {
        "embeddings": {f"speech{name}": {"probe": probe, "distance": {}, "points": points}},
        "encoders": {f"speech{name}": f"speech{name}"},
        "fusion_rows": "in_fold",
    }


def study(name="", **changes):
    """A whole summary, every text of which ends in `name`."""
    speech, fusion, soft = f"speech{name}", f"fusion{name}", f"soft{name}"
    said = [f"fold {fold}: text{name} has no vote" for fold in range(4)] + [f"fold 2: rare{name}"]
    vote = {"kind": "vote", "of": [speech, fusion], "ensemble": f"soft{name}", "said": said}
    cell = {"run": f"run{name}", "status": f"finished{name}", "version": 1, "duration_s": 21.0}
    return {
        "format": 1,
        "study": f"20261123-study{name}",
        "name": f"sample/study{name}",
        "status": f"finished{name}",
        "score": "uar",
        "classes": [f"anger{name}", f"joy{name}"],
        "about": {
            "corpus": f"sample{name}",
            "folds": 4,
            "seeds": [0],
            "leaks": {f"transcript{name}": 12},
            "command": f"polymodal study study=sample{name}",
            f"own{name}": 0.25,
        },
        "members": {
            speech: member(0.44, name),
            fusion: member(0.57, name, **embeddings(name)),
            soft: {**vote, "scores": {"test/uar": score(0.44)}},
        },
        "comparisons": [
            compared(fusion, soft, 0.13, 0.003),
            compared(fusion, speech, 0.13, 0.2),
            compared(soft, speech, 0.0, 1.0),
        ],
        "cells": [
            {**cell, "member": speech, "seed": 0, "share": 1.0, "reused": False},
            {**cell, "member": fusion, "seed": 0, "share": 1.0, "reused": True, "version": 2},
        ],
        "versions": [
            {"version": one, "started": f"today{name}", "code": f"abc{name}", "config": "c"}
            for one in (1, 2)
        ],
        "warnings": [f"few speakers{name}", f"few speakers{name}"],
        "runs": [f"run{name}"],
        **changes,
    }


def page_of(folder, summary):
    return write_report(summary, folder / "study").read_text(encoding="utf-8")


def verdict(page):
    found = re.search(r'<div class="verdict (\w+)">.*?<strong>(.*?)</strong><p>(.*?)</p>', page)
    return found.groups()


def test_nothing_of_the_summary_becomes_html(tmp_path):
    page = page_of(tmp_path, study(EVIL))
    reader = Reader(page)
    assert "script" not in reader.seen
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x00" not in page
    assert not [name for name, _ in reader.attributes if name.startswith("on")]


def test_it_asks_for_nothing_from_elsewhere_and_its_links_lead_somewhere(tmp_path):
    page = page_of(tmp_path, study())
    assert not re.search(r"https?:|@import|url\((?!#)|<link|<img|<script|\bsrc=", page)
    links = {value for name, value in Reader(page).attributes if name in ("href", "xlink:href")}
    ids = {value for name, value in Reader(page).attributes if name == "id"}
    assert {f"#{name}" for name, _, _ in SECTIONS} <= links
    for link in links:
        inside = link.startswith("#")
        assert link[1:] in ids if inside else (tmp_path / "study" / link).is_file()


def test_every_part_is_there_or_left_out(tmp_path):
    whole = page_of(tmp_path, study())
    assert re.findall(r'<h2 id="(\w+)">', whole) == [name for name, _, _ in SECTIONS]
    assert whole.count("<svg") == 7
    bare = {"study": "s", "name": "bare", "status": "running", "members": {"speech": {}}}
    assert re.findall(r"<h2[^>]*>", page_of(tmp_path, bare)) == []
    for part in ("gap", "curve", "subsets", "confusion", "per_speaker", "scores", "errors"):
        members = {"a": {**member(0.5), part: None}, "b": {**member(0.4), part: {}}}
        less = page_of(tmp_path, study(members=members, comparisons=[]))
        assert len(re.findall("<h2", less)) < len(SECTIONS) - 2


def test_the_best_member_is_set_against_the_best_vote(tmp_path):
    colour, headline, told = verdict(page_of(tmp_path, study()))
    assert (colour, headline) == ("good", "fusion is better than soft by .130 (sure).")
    assert "Best of 2 members: fusion, uar .570 [.520, .620]." in told
    assert "Best of 1 vote: soft, uar .440 [.390, .490]." in told
    assert "Not proven to be worse than fusion: speech." in told


@pytest.mark.parametrize(
    "one",
    [
        compared("fusion", "soft", 0.13, 0.2),
        compared("soft", "fusion", -0.02, 0.001, verdict="no difference can be claimed (x)"),
    ],
)
def test_no_claim_is_said_in_words_and_not_in_green(tmp_path, one):
    colour, headline, _ = verdict(page_of(tmp_path, study(comparisons=[one])))
    assert colour == "fair"
    assert headline.startswith("No difference can be claimed")


def test_what_was_not_compared_is_not_claimed(tmp_path):
    colour, headline, _ = verdict(page_of(tmp_path, study(comparisons=[])))
    assert colour == "fair"
    assert "fusion has the better uar than soft" in headline
    assert "no difference can be claimed" in headline


def test_one_member_and_none_are_studies_too(tmp_path):
    one = study(members={"speech": member(0.44)}, comparisons=None)
    assert "nothing to compare it with" in verdict(page_of(tmp_path, one))[1]
    assert "Nothing can be said" in verdict(page_of(tmp_path, study(members={})))[1]


def test_where_smaller_is_better_the_smallest_wins(tmp_path):
    members = {
        name: {"kind": kind, "scores": {"test/rmse": score(mean)}}
        for name, kind, mean in (("a", "member", 0.2), ("b", "member", 0.9), ("v", "vote", 0.5))
    }
    claims = [compared("a", "v", -0.3, 0.001, score="rmse", verdict="a is better than v")]
    claims += [compared("b", other, 0.4, 0.001, score="rmse") for other in ("a", "v")]
    directions = {"rmse": False}
    summary = study(score="rmse", members=members, comparisons=claims, higher_is_better=directions)
    page = page_of(tmp_path, summary)
    assert verdict(page)[:2] == ("good", "a is better than v.")
    assert re.search(r'<b class="good">▲ \N{MINUS SIGN}\.300</b>', page)
    assert "smaller is better" in page


def test_numbers_that_are_none_leave_holes_and_no_words(tmp_path):
    nan = float("nan")
    empty = {"mean": nan, "low": None, "high": nan, "n": None}
    holes = {
        "scores": {"test/uar": empty},
        "gap": {"train": nan, "other": 0.4},
        "curve": [{"share": 1.0, **empty}, {"share": 0.5, **empty}],
        "subsets": {"speech": {"test/uar": empty}},
        "confusion": [[None, nan], [1, 2]],
        "per_speaker": {"s1": None, "s2": nan},
    }
    members = {"holes": holes, "whole": member(0.5)}
    nothing = compared("holes", "whole", nan, nan, verdict=None, num_units=None)
    cell = {"member": "holes", "seed": None, "share": nan, "duration_s": None}
    text = Reader(
        page_of(tmp_path, study(members=members, comparisons=[nothing], cells=[cell]))
    ).text
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", text)
    assert "Without this score: holes." in text


def test_thirty_members_with_long_names_make_a_page_of_moderate_size(tmp_path):
    names = [f"{'a_long_name_' * 8}{place}" for place in range(30)]
    members = {name: member(0.3 + 0.01 * place) for place, name in enumerate(names)}
    pairs = [compared(a, b, -0.01, 0.5) for a in names for b in names if a < b]
    page = page_of(tmp_path, study(members=members, comparisons=pairs))
    assert len(page) < 2_000_000
    assert "<details><summary>435 comparisons" in page
    assert "and 24 more" in verdict(page)[2]


def test_equal_words_of_a_vote_stand_once_with_their_number(tmp_path):
    text = Reader(page_of(tmp_path, study())).text
    assert text.count("text has no vote") == 1
    assert "in 4 of 4 folds: text has no vote" in text
    assert "in 1 of 4 folds: rare (fold 2)" in text


def test_what_makes_a_study_less_than_whole_stands_at_its_head(tmp_path):
    cells = [{"member": "a", "version": one, "status": "failed"} for one in (1, 2, 2)]
    page = page_of(tmp_path, study(status="failed", cells=cells))
    head = Reader(page[: page.index("<nav>")].replace("<body>", "") + "</html>").text
    assert "The study is failed, 0 of 3 cells finished" in head
    assert "a: 1 of version 1 and 2 of version 2" in head
    assert "few speakers (2 times)" in head


def test_modalities_with_one_initial_keep_their_names(tmp_path):
    text = Reader(page_of(tmp_path, study())).text
    assert "S speech, T text" in text
    members = {"a": {**member(0.5), "subsets": {"speech+signals": {"test/uar": score(0.5)}}}}
    assert "speech + signals" in Reader(page_of(tmp_path, study(members=members))).text


def test_values_without_classes_have_a_page(tmp_path):
    scores = {"test/ccc": score(0.4), "test/ccc_valence": score(-0.012), "test/rmse": score(1.2)}
    members = {"a": {"scores": scores}, "v": {"kind": "vote", "scores": scores}}
    page = page_of(tmp_path, study(score="ccc", classes=[], members=members, comparisons=[]))
    text = Reader(page).text
    assert "ccc_valence ↑" in text
    assert "\N{MINUS SIGN}.012" in text
    assert "chance" not in text


def test_the_errors_of_the_best_can_be_read_and_heard(tmp_path):
    asked = []

    def heard(ids):
        asked.extend(ids)
        return {ids[0]: PlayableExample("what was said", "data:audio/wav;base64,AAAA")}

    figures = tmp_path / "figures"
    text = write_report(study(), tmp_path, heard=heard, figures=figures).read_text()
    assert asked == ["u"]
    assert "what was said" in text
    assert text.count("<audio") == 1
    names = {path.stem for path in figures.glob("*.pdf")}
    assert names == {path.stem for path in figures.glob("*.svg")}
    assert "accuracy-by-confidence-fusion" in names
    assert len(names) == text.count("<svg")


def test_the_recall_of_each_class_is_a_table(tmp_path):
    page_of(tmp_path, study(classes=["calm", "joy"]))
    rows = (tmp_path / "study/tables/classes.csv").read_text().splitlines()
    assert rows == ["member,calm,joy", "fusion,.800,\N{EN DASH}", "speech,.800,\N{EN DASH}"]


def test_the_best_mean_is_bold_and_the_command_keeps_its_lines(tmp_path):
    summary = study()
    summary["about"] = {**summary["about"], "command": "polymodal study\nstudy=sample"}
    page = page_of(tmp_path, summary)
    assert "<b>.570</b>" in page
    assert "polymodal study\nstudy=sample" in page


def test_equal_summaries_make_equal_files(tmp_path):
    for folder in ("a", "b"):
        write_report(study(), tmp_path / folder)
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 10
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_a_summary_without_members_is_refused_before_a_file_is_written(tmp_path):
    with pytest.raises(RunError, match="lacks status, members"):
        write_report({"study": "s", "name": "n"}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
