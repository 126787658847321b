"""The pictures of a study: every row is in them, nothing else is, and a browser may dim them."""

import re
import sys
import warnings
from html.parser import HTMLParser

import matplotlib
import pytest

from polymodal.report.charts import (
    SETTINGS,
    Estimate,
    TrainTestGap,
    axis_limits,
    curves,
    dumbbell_plot,
    forest_plot,
    strip_plot,
)
from polymodal.report.format import shorten_names

EVIL = '<script>alert("x")</script> $x_1$ #010203 fill: \x00'


class Words(HTMLParser):
    """What a picture says, and its elements."""

    def __init__(self, svg):
        super().__init__()
        self.words, self.tags = [], []
        self.feed(svg)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data.strip())


def every_picture(name="speech"):
    one = Estimate(name, 0.44, 0.4, 0.49)
    return {
        "forest": forest_plot([one, Estimate("soft", 0.5, kind="vote")], "uar", chance_level=0.25),
        "dumbbell": dumbbell_plot([TrainTestGap(name, 0.62, 0.45)], "uar"),
        "curves": curves({name: [(0.1, one), (1.0, one)]}, "uar", axis_limits([one])),
        "strip": strip_plot({name: [0.1, 0.5, 0.5], "soft": [0.4]}, "uar"),
    }


@pytest.mark.parametrize("kind", ["forest", "dumbbell", "curves", "strip"])
def test_a_picture_takes_any_name_as_text_and_asks_for_nothing(kind):
    svg = every_picture(EVIL)[kind]
    told = Words(svg)
    assert "script" not in told.tags
    assert not re.search(r"https?:|<image|<metadata|\x00", svg)
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', svg))
    assert "currentColor" in svg
    assert not re.search(r"(fill|stroke): #01020", svg)
    assert 'role="img"' in svg
    assert shorten_names([EVIL])[EVIL] in told.words


@pytest.mark.parametrize("kind", ["forest", "dumbbell", "curves", "strip"])
def test_equal_pictures_are_equal_and_matplotlib_stays_as_it_was(kind):
    before = "matplotlib.pyplot" in sys.modules
    settings = {key: matplotlib.rcParams[key] for key in SETTINGS}
    assert every_picture()[kind] == every_picture()[kind]
    assert {key: matplotlib.rcParams[key] for key in SETTINGS} == settings
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_no_two_pictures_of_a_page_share_an_id():
    found = [re.findall(r'\bid="([^"]*)"', svg) for svg in every_picture().values()]
    every = [one for ids in found for one in ids]
    assert every
    assert len(set(every)) == len(every)


def test_the_forest_tells_figures_kinds_and_chance():
    told = Words(every_picture()["forest"]).words
    assert ".440  [.400, .490]" in told
    assert ".500" in told
    assert {"member", "vote", "chance .250", "uar"} <= {*told}
    alone = Words(forest_plot([Estimate("speech", 0.4)], "uar")).words
    assert "vote" not in alone


def test_kinds_differ_in_shape_not_only_in_colour():
    def shapes(kind):
        return {*re.findall(r'\bd="([^"]*)"', forest_plot([Estimate("x", 0.4, kind=kind)], "uar"))}

    member, vote, other = map(shapes, ("member", "vote", "other"))
    assert member - vote
    assert vote - member
    assert other - vote - member


def test_the_dumbbell_tells_the_gap_with_its_sign():
    told = Words(
        dumbbell_plot([TrainTestGap("a", 0.62, 0.45), TrainTestGap("b", 0.4, 0.45, "test")], "uar")
    ).words
    assert {"+.170", "\N{MINUS SIGN}.050", "train", "val/test"} <= {*told}


def test_shares_stand_under_the_curves_as_percent():
    told = Words(every_picture()["curves"]).words
    assert {"10 %", "100 %", "share of the training data"} <= {*told}


def test_long_names_differ_at_their_ends_and_equal_short_forms_are_numbered():
    long = [f"{'a' * 40}_{end}" for end in ("one", "two")]
    assert shorten_names(long)[long[0]].endswith("_one")
    hidden = [f"{'a' * 20}{middle}{'b' * 20}" for middle in "xyz"]
    assert len({*shorten_names(hidden).values()}) == 3


def test_korean_names_are_text_and_warn_of_no_font():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "기쁨" in Words(forest_plot([Estimate("기쁨", 0.4, 0.3, 0.5)], "uar")).words
