"""What a page is made of: HTML that needs no other file, no script and no network.

Every text is shown as text, whatever it holds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

from polymodal.report.format import NONE, Bold, Rows, as_finite, shorten_names, strip_control_chars
from polymodal.report.templating import render

LONG_LIST = 20  # rows; longer lists are closed at first


def document(title: str, about: str, head: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """Return a whole page.

    Args:
        title: Its title.
        about: Stands beside the title.
        head: HTML above the links.
        sections: Anchor, title and HTML of each; one without HTML is left out.
    """
    shown = [
        {"anchor": anchor, "title": heading, "blocks": [Safe(body)]}
        for anchor, heading, body in sections
        if body
    ]
    return render("page.html.j2", title=title, about=about, head=[Safe(head)], sections=shown)


class Safe(str):
    """Text that is HTML already."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def escape_html(text: object) -> str:
    """Return text as HTML that shows it."""
    return escape(strip_control_chars(text))


def figure(svg: str, caption: str = "", *, kind: str = "wide") -> str:
    """Return a picture with what is said below it.

    Args:
        svg: The picture.
        caption: Text.
        kind: `wide` or `narrow`.
    """
    note = f"<figcaption>{escape_html(caption)}</figcaption>" if caption else ""
    return f'<figure class="{kind}">{svg}{note}</figure>'


def collapsible(heading: str, body: str, num_rows: int = LONG_LIST + 1) -> str:
    """Return something that can be closed, and is at first if it is long."""
    shown = "" if num_rows > LONG_LIST else " open"
    return f"<details{shown}><summary>{escape_html(heading)}</summary>{body}</details>"


def grid(drawn: Sequence[str], most: int, kind: str) -> str:
    """Return things side by side, the first ones open.

    Args:
        drawn: HTML of each.
        most: How many are open.
        kind: Class of the grid: `grid` or `grid two`.
    """
    first, rest = (
        f'<div class="{kind}">{"".join(part)}</div>' for part in (drawn[:most], drawn[most:])
    )
    return first + (collapsible(f"{len(drawn) - most} more", rest) if drawn[most:] else "")


def bullet_list(lines: Iterable[str], most: int) -> str:
    """Return a list, the first lines open."""
    items = [f"<li>{line}</li>" for line in lines]
    rest = "".join(items[most:])
    more = collapsible(f"{len(items) - most} more", f"<ul>{rest}</ul>") if rest else ""
    return f"<ul>{''.join(items[:most])}</ul>{more}" if items else NONE


def table(rows: Rows, *, words: Iterable[int], raw: bool = False) -> str:
    """Return a table of text.

    Args:
        rows: The heading and the rows; an empty heading is left out.
        words: Columns of words; the others are numbers.
        raw: Whether the last column is HTML already.
    """
    wordy, last = {*words}, len(rows[0]) - 1

    def line(row: Sequence[str], tag: str) -> str:
        cells = [
            f'<{tag} class="text">{one if raw and index == last else escape_html(one)}</{tag}>'
            if index in wordy
            else f"<{tag}>{_figures(one)}</{tag}>"
            for index, one in enumerate(row)
        ]
        return f"<tr>{''.join(cells)}</tr>"

    heading, *others = rows
    head = f"<thead>{line(heading, 'th')}</thead>" if any(heading) else ""
    body = "".join(line(row, "td") for row in others)
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _figures(text: str) -> str:
    """A number and what follows it: its interval stands back."""
    first, _, rest = text.partition(" [")
    shown = f"<b>{escape_html(first)}</b>" if isinstance(text, Bold) else escape_html(first)
    return shown + (f' <span class="side">[{escape_html(rest)}</span>' if rest else "")


def heatmap_table(
    corner: str,
    columns: Sequence[str],
    body: Mapping[str, Sequence[str]],
    *,
    caption: str = "",
    upright: bool = True,
) -> str:
    """Return a table of shaded cells.

    Args:
        corner: Text above the names of the rows.
        columns: Names of the columns.
        body: Name of each row to its cells, HTML.
        caption: Text above the table.
        upright: Whether the names of narrow columns stand upright.
    """
    kind = ' class="upright"' if upright else ""
    names = shorten_names(columns)
    head = "".join(
        f'<th class="head" title="{escape_html(name)}"><span{kind}>{escape_html(shown)}</span></th>'
        for name, shown in names.items()
    )
    rows = "".join(
        f'<tr><th class="text">{escape_html(name)}</th>{"".join(cells)}</tr>'
        for name, cells in body.items()
    )
    title = f"<caption>{escape_html(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table class="heat">{title}<thead><tr><th class="text">'
        f"{escape_html(corner)}</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def heat(values: Iterable[object]) -> Callable[[object], float]:
    """Return what tells the place of a value between the smallest and the largest one.

    Args:
        values: Of which those that are numbers count.
    """
    known = [one for one in map(as_finite, values) if one is not None] or [0.0]
    low, width = min(known), (max(known) - min(known)) or 1.0
    return lambda value: 0.0 if (found := as_finite(value)) is None else (found - low) / width


def heatmap_cell(share: float, text: str, small: str = "") -> str:
    """Return a shaded cell of a table.

    Args:
        share: How dark, from 0 to 1.
        text: What stands in it.
        small: What stands below that.
    """
    style = f' style="background: rgb(var(--heat) / {0.55 * share:.2f})"' if share > 0 else ""
    below = f"<small>{escape_html(small)}</small>" if small else ""
    return f"<td{style}>{_figures(text)}{below}</td>"
