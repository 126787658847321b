"""Why deep fusion wins or loses: the section stands where a member has embeddings."""

import html
import re

import pytest

from polymodal.report.study_embeddings import fusion_section


def gap(train, other, **changes):
    return {"score": "uar", "train": train, "other": other, "against": "test", **changes}


def members(**changes):
    embeddings = {"text": {"probe": {"train": 0.98, "val": 0.6, "test": 0.55}}}
    return {
        "fusion": {"embeddings": embeddings, "fusion_rows": "in_fold", "gap": gap(0.9, 0.5)},
        "text": {"gap": gap(0.7, 0.6)},
        "soft": {"kind": "vote", "gap": gap(0.75, 0.65)},
        **changes,
    }


def section(**changes):
    blocks = fusion_section(members(**changes), ["calm", "joy"], "gaps")
    return "".join(block.__html__() for block in blocks)


def test_it_stands_only_where_a_member_has_embeddings():
    assert "<table" in section()
    assert section(fusion={"gap": gap(0.9, 0.5)}) == ""


@pytest.mark.parametrize("embeddings", [None, 3, [], {"text": "words"}])
def test_embeddings_of_a_wrong_type_are_none(embeddings):
    assert section(fusion={"embeddings": embeddings}) == ""


def test_the_gap_of_fusion_members_is_set_against_that_of_votes():
    second = {**members()["fusion"], "gap": gap(0.9, 0.7)}
    page = section(other=second, product={"kind": "vote", "gap": gap(0.8, 0.6)})
    assert "+.300 for 2 fusion members and +.150 for 2 votes" in page
    assert "uar, train minus test" in page
    assert '<a href="#gaps">' in page


def test_gaps_of_another_score_are_left_out():
    page = section(soft={"kind": "vote", "gap": gap(0.75, 0.65, against="val")})
    assert "+.400 for 1 fusion member." in page


@pytest.mark.parametrize(
    "broken", [None, 3, {}, gap(None, 0.5), gap("a", 0.5), gap(0.5, float("nan"))]
)
def test_without_the_gap_of_a_fusion_member_nothing_is_said_of_it(broken):
    page = section(fusion={**members()["fusion"], "gap": broken})
    assert "<table" in page
    assert "#gaps" not in page


def test_names_are_shown_as_text():
    evil = "<script>x</script>"
    embeddings = {evil: {"probe": {"train": 0.9, "test": 0.5}}}
    encoders = {evil: evil}
    page = section(
        **{evil: {"embeddings": embeddings, "encoders": encoders, "gap": gap(1, 0, score=evil)}}
    )
    assert "<script" not in page
    assert page.count(html.escape(evil)) >= 4
    assert not re.search(r"\bnan\b|\bNone\b", page)
