"""What a page shows of embeddings: figures as they are recorded, holes where they are not."""

import re

import pytest

from polymodal.report.embeddings import (
    HEADING,
    MAX_OPEN,
    embedding_entries,
    embedding_findings,
    embedding_rows,
    embeddings_section,
    fusion_rows_text,
)

DASH = "\N{EN DASH}"
NAN = float("nan")


def described(train=0.98, test=0.55, **changes):
    points = [
        {"split": split, "label": "joy", "x": x, "y": 0.5}
        for split in ("train", "val", "test")
        for x in (0.0, 1.0)
    ]
    return {
        "probe": {"train": train, "val": 0.6, "test": test},
        "distance": {"val": 1.2, "test": 1.4},
        "points": points,
        "explained": [0.31, 0.12],
        **changes,
    }


def entries(fusion_rows="in_fold", member="fusion", **modalities):
    encoders = {name: f"{name}_alone" for name in modalities}
    return embedding_entries(modalities, member=member, encoders=encoders, fusion_rows=fusion_rows)


def section(entries):
    return "".join(block.__html__() for block in embeddings_section(entries))


def test_a_row_has_the_figures_of_a_modality():
    rows = embedding_rows(entries(speech=described(), text=described(test=None)))
    assert rows[0] == [*HEADING]
    start, end = ["fusion", "speech", "speech_alone"], [fusion_rows_text("in_fold")]
    assert rows[1] == [*start, ".980", ".600", ".550", "+.430", "1.200", "1.400", *end]
    assert rows[2][3:7] == [".980", ".600", DASH, "+.380"]  # against validation


def test_columns_of_words_that_nobody_has_are_left_out():
    heading, row = embedding_rows(embedding_entries({"speech": described()}))
    assert heading == ["modality", *HEADING[3:-1]]
    assert row[0] == "speech"


@pytest.mark.parametrize(
    ("fusion_rows", "words"),
    [
        ({"held_out": 0.3}, "30 %"),
        ({"held_out": 0.125}, "12.5 %"),
        ({"held_out": None}, "unseen"),
        ("in_fold", "fitted"),
    ],
)
def test_the_rows_of_a_fusion_are_told_in_words(fusion_rows, words):
    assert words in fusion_rows_text(fusion_rows)


@pytest.mark.parametrize("fusion_rows", [None, 3, "other", {}, []])
def test_unknown_rows_of_a_fusion_have_no_words(fusion_rows):
    assert fusion_rows_text(fusion_rows) == ""


def test_a_finding_is_of_the_largest_gap_of_its_kind():
    in_fold = entries(speech=described(0.9, 0.7), text=described(0.98, 0.55))
    held_out = entries({"held_out": 0.3}, "other", text=described(0.6, 0.57))
    first, second = embedding_findings([*in_fold, *held_out])
    assert "text in fusion" in first
    assert {".980", ".550"} <= {*re.findall(r"\.\d{3}", first)}
    assert "easier to separate than" in first
    assert "text in other" in second
    assert {".600", ".570"} <= {*re.findall(r"\.\d{3}", second)}
    assert "about as easy" in second


def test_a_gap_of_encoders_that_saw_neither_is_not_laid_on_the_fusion_rows():
    (finding,) = embedding_findings(entries({"held_out": 0.3}, text=described(0.9, 0.5)))
    assert "easier" not in finding
    assert "overfits" in finding


def test_easier_test_rows_are_said_to_be_easier():
    (finding,) = embedding_findings(entries(text=described(0.5, 0.9)))
    assert "even easier" in finding


@pytest.mark.parametrize("probe", [None, {}, 3, {"train": 0.5}, {"train": NAN, "test": 0.5}])
def test_without_figures_there_is_no_finding(probe):
    assert embedding_findings(entries(text=described(probe=probe))) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"points": None},
        {"points": "abc"},
        {"points": [None, 3, {}, {"split": "train", "x": NAN, "y": 0.0}]},
        {"points": [{"split": "train", "x": 1e308, "y": -1e308}]},
        {"points": [{"split": ["train"], "label": {}, "x": "0", "y": True}]},
    ],
)
def test_broken_points_make_no_figure(changes):
    page = section(entries(speech=described(**changes)))
    assert "<svg" not in page
    assert "+.430" in page


@pytest.mark.parametrize("explained", [None, [], [None], ["a", NAN, 3], 0.5])
def test_broken_ratios_leave_the_axes_without_figures(explained):
    page = section(entries(speech=described(explained=explained)))
    assert "first component<" in page
    assert "31 % of the variance" in section(entries(speech=described()))


@pytest.mark.parametrize("distance", [None, [1], {"val": NAN, "test": "x"}])
def test_broken_distances_leave_holes(distance):
    assert embedding_rows(entries(speech=described(distance=distance)))[1][7:9] == [DASH, DASH]


@pytest.mark.parametrize("found", [None, 3, "speech", [1], {}, {"speech": None}, {"speech": {}}])
def test_without_descriptions_there_is_nothing(found):
    assert embedding_entries(found) == []
    assert embeddings_section(embedding_entries(found)) == []


def test_validation_is_drawn_where_there_is_no_test():
    points = [{"split": split, "label": None, "x": 0.0, "y": 1.0} for split in ("train", "val")]
    page = section(entries(speech=described(points=points)))
    assert re.findall(r">(train|val|test)</text>", page) == ["train", "val"]
    both = section(entries(speech=described()))
    assert re.findall(r">(train|val|test)</text>", both) == ["train", "test"]


def test_further_figures_are_folded():
    many = {f"signal{place}": described() for place in range(MAX_OPEN + 3)}
    page = section(entries(**many))
    assert page.count("<svg") == MAX_OPEN + 3
    assert page.partition("<details")[0].count("<svg") == MAX_OPEN
    assert "<summary>3 more</summary>" in page
    assert "<details" not in section(entries(speech=described()))
