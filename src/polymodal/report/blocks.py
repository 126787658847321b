"""The parts of a page: plain values, which macros of `components.html.j2` escape and draw."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from polymodal.report.format import Rows, as_finite, format_score, shorten_names
from polymodal.report.templating import component, render

MAX_OPEN_ROWS = 20  # longer lists are closed at first
MAX_SHADE = 0.55


@dataclass(frozen=True)
class Block:
    """Base of the parts of a page; a template escapes nothing that has `__html__`."""

    def __html__(self) -> str:
        return component(type(self).__name__, self)


Content = str | Block  # text, or what draws itself
Section = tuple[str, str, Sequence[Block]]  # anchor, title, content


@dataclass(frozen=True)
class Mark(Block):
    """A phrase that stands out (`good`, `fair`, `bad`) or back (`side`, `faint`)."""

    text: str
    kind: str


@dataclass(frozen=True)
class Link(Block):
    """A link within the page or to a file beside it."""

    text: str
    target: str


@dataclass(frozen=True)
class Code(Block):
    """A word of code; its title is shown on hover."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Listing(Block):
    """Lines of code."""

    text: str


@dataclass(frozen=True)
class Example(Block):
    """A transcript, and its sound as the address of a player."""

    text: str
    audio: str | None = None


@dataclass(frozen=True)
class Phrase(Block):
    """Content in one line."""

    items: Sequence[Content]


@dataclass(frozen=True)
class Paragraph(Block):
    """Content in a paragraph."""

    items: Sequence[Content]


@dataclass(frozen=True)
class Heading(Block):
    """A heading below that of the section."""

    text: str


@dataclass(frozen=True)
class Facts(Block):
    """Short phrases side by side."""

    items: Sequence[str]


@dataclass(frozen=True)
class Verdict(Block):
    """The answer of a page: `good`, `fair` or `bad`."""

    colour: str
    headline: str
    text: str
    label: str = ""


@dataclass(frozen=True)
class Notice(Block):
    """What a reader has to know before the figures."""

    label: str
    notes: Block


@dataclass(frozen=True)
class Figure(Block):
    """A picture (SVG, trusted) with a caption; `wide` or `narrow`."""

    svg: str
    caption: str = ""
    kind: str = "wide"


@dataclass(frozen=True)
class Details(Block):
    """Content that can be closed, and is at first if it has many rows."""

    heading: Content
    blocks: Sequence[Content]
    num_rows: int = MAX_OPEN_ROWS + 1

    @property
    def is_open(self) -> bool:
        """Whether the content is shown at first."""
        return self.num_rows <= MAX_OPEN_ROWS


@dataclass(frozen=True)
class Grid(Block):
    """Blocks side by side, the first ones open; `kind` is a class of the style sheet."""

    blocks: Sequence[Block]
    max_open: int
    kind: str = "grid"


@dataclass(frozen=True)
class BulletList(Block):
    """A list, the first items open."""

    items: Sequence[Content]
    max_open: int


@dataclass(frozen=True)
class Table(Block):
    """A heading, left out where it is empty, and rows; columns that are not text are numbers."""

    rows: Sequence[Sequence[Content]]
    text_columns: Iterable[int]


@dataclass(frozen=True)
class Cell(Block):
    """A cell of numbers, shaded by a fraction from 0 to 1, with a smaller text below."""

    text: Content
    small: str = ""
    fraction: float = 0.0

    @property
    def shade(self) -> str:
        """Opacity of the background, empty for none."""
        return f"{MAX_SHADE * self.fraction:.2f}" if self.fraction > 0 else ""


@dataclass(frozen=True)
class Heatmap(Block):
    """A table of cells with the names of rows and columns; long column names may stand upright."""

    corner: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Cell]]
    caption: str = ""
    upright: bool = True

    @property
    def short_names(self) -> Mapping[str, str]:
        """The name of each column to its short form."""
        return shorten_names(self.columns)


def paragraph(*items: Content) -> Paragraph:
    """Return a paragraph of texts and inline blocks."""
    return Paragraph(items)


def key_value_table(rows: Rows) -> Table:
    """Return a table of names and texts without a heading."""
    return Table([["", ""], *rows], (0, 1))


def confusion_heatmap(
    labels: Sequence[str], counts: Iterable[Sequence[float]], caption: str = ""
) -> Heatmap:
    """Return a confusion matrix shaded by row, the count below the fraction of the row."""
    rows = {}
    for label, row in zip(labels, counts, strict=True):
        fractions = [count / (sum(row) or 1) for count in row]
        rows[label] = [
            Cell(format_score(fraction), f"{count:,.0f}", fraction)
            for fraction, count in zip(fractions, row, strict=True)
        ]
    return Heatmap("true / predicted", labels, rows, caption)


def normalise(values: Iterable[object]) -> Callable[[object], float]:
    """Return a function that maps values to their position between minimum and maximum, 0 to 1."""
    numbers = [number for value in values if (number := as_finite(value)) is not None] or [0.0]
    low, width = min(numbers), (max(numbers) - min(numbers)) or 1.0
    return lambda value: 0.0 if (number := as_finite(value)) is None else (number - low) / width


def document(title: str, about: str, head: Sequence[Block], sections: Sequence[Section]) -> str:
    """Return a page that needs no other file, no script and no network."""
    shown = [
        {"anchor": anchor, "title": heading, "blocks": blocks}
        for anchor, heading, blocks in sections
        if blocks
    ]
    return render("page.html.j2", title=title, about=about, head=head, sections=shown)
