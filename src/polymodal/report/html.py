"""What a page is made of: HTML that needs no other file, no script and no network.

Every text is shown as text, whatever it holds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

from polymodal.report.format import NONE, Bold, Rows, as_finite, shorten_names, strip_control_chars

LONG_LIST = 20  # rows; longer lists are closed at first
# Colours by light and dark mode, fonts: what all pages share.
BASE = """
:root { color-scheme: light dark; --ink: #1c2024; --paper: #ffffff; --faint: #d9dde1;
  --card: #f5f6f8; --good: #16794a; --fair: #946200; --bad: #b3261e; --heat: 15 127 194; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --paper: #15181b; --faint: #3a4046;
  --card: #1e2226; --good: #4cc38a; --fair: #f0b13c; --bad: #ff7b6e; --heat: 85 174 224; } }
* { box-sizing: border-box; }
body, svg text { font-family: system-ui, "Segoe UI", "Noto Sans", "Noto Sans KR",
  "Noto Sans CJK KR", "Apple SD Gothic Neo", "Malgun Gothic",
  "NanumGothic", sans-serif !important; }
body { margin: 0 auto; padding: 1.2rem; max-width: 76rem; color: var(--ink);
  background: var(--paper); line-height: 1.45; overflow-wrap: anywhere; }
"""
STYLE = (
    BASE
    + """h1 { font-size: 1.35rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
a { color: inherit; } nav { font-size: .88rem; margin: .2rem 0 .9rem; }
nav a { margin-right: .9rem; } p { margin: .4rem 0; max-width: 62rem; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
.verdict { border-left: .5rem solid; border-radius: .3rem; padding: .7rem 1rem;
  background: var(--card); margin: .6rem 0; }
.verdict strong { font-size: 1.25rem; } .verdict p, .verdict ul { color: var(--ink); }
.good { color: var(--good); } .fair { color: var(--fair); } .bad { color: var(--bad); }
.side { opacity: .75; font-size: .88rem; font-weight: 400; }
figure { margin: 0; padding: .6rem; background: var(--card); border-radius: .4rem;
  overflow-x: auto; max-width: 59.2rem; }
figure + figure { margin-top: 1rem; } figure.narrow { max-width: 44.4rem; }
figure svg { width: 100%; min-width: 44rem; height: auto; display: block; }
figure.narrow svg { min-width: 33rem; }
figcaption { font-size: .88rem; opacity: .8; }
.grid { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
.grid.two { grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr)); }
.grid figure { margin: 0; }
details { margin: .5rem 0; padding: .4rem .7rem; background: var(--card); border-radius: .4rem; }
summary { cursor: pointer; }
.scroll { overflow: auto; max-height: 62rem; background: var(--card); border-radius: .4rem;
  width: fit-content; max-width: 100%; }
.scroll + .scroll, .scroll + figure { margin-top: .8rem; } .grid .scroll { margin: 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; white-space: nowrap; }
caption { text-align: left; font-weight: 600; padding: .4rem .55rem; white-space: normal;
  overflow-wrap: anywhere; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--faint); text-align: right; }
.text { text-align: left; white-space: normal; overflow-wrap: break-word; max-width: 26rem; }
td.text:last-child { min-width: 16rem; }
thead th { position: sticky; top: 0; background: var(--card); vertical-align: bottom; z-index: 2; }
tr > :first-child { position: sticky; left: 0; background: var(--card); z-index: 1;
  max-width: min(18rem, 40vw); }
thead tr > :first-child { z-index: 3; }
.heat td, .heat thead .head { text-align: center; line-height: 1.15; }
.head span { display: inline-block; white-space: normal; max-width: 12rem;
  overflow-wrap: anywhere; }
.head .upright { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; }
.heat small { display: block; } .faint, .heat small { opacity: .7; }
code { font-family: ui-monospace, Consolas, monospace; font-size: .92em; }
pre { background: var(--card); border-radius: .4rem; padding: .7rem 1rem; white-space: pre-wrap;
  margin: .4rem 0; }
@media print { .scroll { max-height: none; } }
"""
)


def document(title: str, about: str, head: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """Return a whole page.

    Args:
        title: Its title, text.
        about: What stands beside the title, text.
        head: What stands above the links, HTML.
        sections: Name of the anchor, title and HTML of each; one without HTML is left out.
    """
    shown = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{name}">{heading}</a>' for name, heading, _ in shown)
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape_html(title)}</title><style>{STYLE}</style></head><body>",
            f'<h1>{escape_html(title)} <span class="side">{escape_html(about)}</span></h1>',
            head,
            f"<nav>{links}</nav>",
            *(f'<h2 id="{name}">{heading}</h2>\n{body}' for name, heading, body in shown),
            "</body></html>\n",
        ]
    )


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
