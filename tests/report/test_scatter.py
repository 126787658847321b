"""Scatter plots: every point is drawn, classes differ without colour, no name becomes markup."""

import re
from html.parser import HTMLParser

import pytest

from polymodal.report.scatter import UNLABELLED, Point, scatter

EVIL = '<script>alert("x")</script> $x_1$ \x00'


class Words(HTMLParser):
    def __init__(self, svg):
        super().__init__()
        self.words, self.tags = [], []
        self.feed(svg)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data.strip())


def draw(panels, classes=()):
    return scatter(panels, classes, ("across", "up"), "embeddings")


def points(label, num=1):
    return [Point(label, float(place % 2), float(place % 2)) for place in range(num)]


def test_every_point_is_drawn_in_its_panel():
    few, many = (
        draw({"train": points("calm", num), "test": points("joy", 3)}).count("<use")
        for num in (2, 42)
    )
    assert many - few == 40


def test_panels_are_named_and_share_their_axes():
    words = Words(draw({"train": points("calm"), "test": [Point("calm", 500.0, 0.25)]})).words
    assert {"train", "test", "up"} <= {*words}
    assert words.count("across") == 2
    assert words.count("400") == 2  # the tick of test's values, below both


def test_the_legend_has_the_classes_that_occur_in_their_order():
    panels = {"train": [*points("joy"), *points("other"), *points(None)], "test": points("calm")}
    words = Words(draw(panels, ["calm", "fear", "joy"])).words
    entries = [word for word in words if word in ("calm", "fear", "joy", "other", UNLABELLED)]
    assert entries == ["calm", "joy", "other", UNLABELLED]
    assert UNLABELLED not in Words(draw({"train": points("joy")})).words


def looks(svg):
    """Shape and style of every marker and tick."""
    used = re.findall(r'<use xlink:href="#(\w+)"[^>]*style="([^"]*)"', svg)
    shapes = dict(re.findall(r'<path id="(\w+)" d="([^"]*)"', svg))
    return {(shapes[name], style) for name, style in used}


@pytest.mark.parametrize("num_classes", [2, 7, 36])
def test_classes_differ_in_shape_or_style(num_classes):
    names = [f"class{place:02d}" for place in range(num_classes)]
    svg = draw({"train": [point for name in names for point in points(name)]}, names)
    ticks = looks(draw({"train": []}))
    assert len(looks(svg) - ticks) == 2 * num_classes  # in the panel, and larger in the legend


def test_up_to_six_classes_differ_without_colour():
    def shapes(*labels):
        svg = draw({"train": [point for label in labels for point in points(label)]}, names)
        return {shape for shape, _ in looks(svg) - looks(draw({"train": []}))}

    names = list("abcdef")
    assert len(shapes(*names)) == 2 * len(names)


@pytest.mark.parametrize("title", ["train", EVIL])
def test_no_name_becomes_markup(title):
    svg = scatter({title: points(EVIL)}, [EVIL], (EVIL, EVIL), EVIL)
    assert "script" not in Words(svg).tags
    assert "\x00" not in svg
    assert not re.search(r"https?:|<image|<metadata", svg)


def test_equal_points_make_equal_pictures():
    panels = {"train": points("calm", 5), "test": points(None, 2)}
    assert draw(panels) == draw(panels)


def test_a_panel_without_points_is_empty():
    assert "train" in Words(draw({"train": []})).words
