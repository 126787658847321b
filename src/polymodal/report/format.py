"""Numbers and tables as text: for people, as CSV, Markdown and LaTeX."""

import csv
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path, PurePath
from typing import Any

from polymodal.security.files import atomic_write_text

Rows = Sequence[Sequence[str]]

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
MAX_NAMED = 5
MAX_NAME = 30
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# The brackets and the star would be read as the option of the row's end before them.
LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "*": "{*}",
    MINUS: "$-$",
    NONE: "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


class Bold(str):
    """A cell whose first word is printed in bold."""

    __slots__ = ()
    bold = True  # read by templates


def as_finite(value: object) -> float | None:
    """Return a finite number, and None for anything else: NaN, infinity, text, None itself.

    Example:
        >>> as_finite(1), as_finite(float("nan")), as_finite("1")
        (1.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def format_score(value: object, *, signed: bool = False) -> str:
    """Return three decimals without the zero before the point, a dash if it is not a number.

    Example:
        >>> format_score(0.4404), format_score(12.5), format_score(0.13, signed=True)
        ('.440', '12.500', '+.130')
    """
    if (result := as_finite(value)) is None:
        return NONE
    shown = f"{abs(result):.3f}"
    sign = "" if float(shown) == 0 else MINUS if result < 0 else "+" if signed else ""
    return sign + shown.removeprefix("0")


def interval(score: Mapping[str, Any]) -> str:
    """Return a mean with its interval from `mean`, `low` and `high`, all of which may be missing.

    Example:
        >>> interval({"mean": 0.44, "low": 0.4, "high": 0.49})
        '.440 [.400, .490]'
    """
    mean, low, high = (format_score(score.get(name)) for name in ("mean", "low", "high"))
    return mean if NONE in (mean, low, high) else f"{mean} [{low}, {high}]"


def format_p(value: object) -> str:
    """Return a probability of error; `< .001` for one that three decimals cannot show.

    Example:
        >>> format_p(0.00004), format_p(0.0312)
        ('< .001', '.031')
    """
    result = as_finite(value)
    return "< .001" if result is not None and result < 0.001 else format_score(result)


def pluralise(num: int, what: str) -> str:
    """Return a number and what it counts.

    Example:
        >>> pluralise(1, "run"), pluralise(2000, "run")
        ('1 run', '2,000 runs')
    """
    return f"{num:,} {what}{'' if num == 1 else 's'}"


def join_names(names: Sequence[str]) -> str:
    """Return the first names and how many more there are."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def duration(seconds: object) -> str:
    """Return a length of time in words.

    Example:
        >>> duration(3.21), duration(200), duration(7300)
        ('3.2 s', '3 min', '2 h 02 min')
    """
    if (result := as_finite(seconds)) is None:
        return NONE
    if result < 60:
        return f"{result:.1f} s"
    minutes = round(result / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def value(item: object) -> str:
    """Return any value of a record as text."""
    if isinstance(item, Mapping):
        return "; ".join(f"{name}: {value(child)}" for name, child in item.items())
    if isinstance(item, list | tuple):
        return ", ".join(map(value, item)) or NONE
    if isinstance(item, bool):
        return "yes" if item else "no"
    if item is None or isinstance(item, float):
        return NONE if (result := as_finite(item)) is None else f"{result:,.6g}"
    return f"{item:,}" if isinstance(item, int) else str(item)


def command(arguments: Sequence[object]) -> str:
    """Return a command line that can be pasted.

    Example:
        >>> command(["/x/polymodal/__main__.py", "run", "a=[1, 2]"])
        "polymodal run 'a=[1, 2]'"
    """
    texts = [str(argument) for argument in arguments]
    if texts and PurePath(texts[0]).name in ("__main__.py", "polymodal"):
        texts[0] = "polymodal"
    return shlex.join(texts)


def write_table(
    folder: Path, name: str, exact: Sequence[Sequence[object]], rows: Rows, title: str
) -> None:
    """Write a table as CSV with every digit, and as Markdown and LaTeX with rounded numbers.

    Raises:
        OSError: A file cannot be written.
    """
    atomic_write_text(folder / f"{name}.csv", csv_text(exact))
    atomic_write_text(folder / f"{name}.md", markdown(rows))
    atomic_write_text(folder / f"{name}.tex", latex(rows, title))


def csv_text(rows: Sequence[Sequence[object]]) -> str:
    r"""Return rows as CSV; a cell of None is empty.

    Example:
        >>> csv_text([["member", "mean"], ["a, b", None]])
        'member,mean\n"a, b",\n'
    """
    buffer = StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode(errors="replace").decode()


def markdown(rows: Rows) -> str:
    r"""Return rows as a table of GitHub's Markdown; names may hold any sign.

    Example:
        >>> print(markdown([["member", "uar"], ["speech_a", Bold(".5 [.4, .6]")]]), end="")
        | member | uar |
        | :-- | --: |
        | speech\_a | **.5** \[.4, .6\] |
    """
    heading, *others = ([_markdown_cell(cell) for cell in row] for row in rows)
    marks = [":--" if index == 0 else "--:" for index in range(len(heading))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (heading, marks, *others))


def latex(rows: Rows, title: str) -> str:
    r"""Return rows as a `tabular` with the rules of booktabs.

    Example:
        >>> print(latex([["member", "uar"], ["a_b", Bold(".5 [.4, .6]")]], "study"), end="")
        % study; needs \usepackage{booktabs}
        \begin{tabular}{lr}
        \toprule
        member & uar \\
        \midrule
        a\_b & \textbf{.5} {[}.4, .6] \\
        \bottomrule
        \end{tabular}
    """
    heading, *others = (" & ".join(map(_latex_cell, row)) + r" \\" for row in rows)
    lines = [
        f"% {strip_control_chars(title).strip()}; needs \\usepackage{{booktabs}}",
        f"\\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}",
        *(r"\toprule", heading, r"\midrule", *others, r"\bottomrule", r"\end{tabular}"),
    ]
    return "\n".join(lines) + "\n"


def strip_control_chars(text: object) -> str:
    r"""Return text whose control characters, which no table or page may hold, are visible.

    Example:
        >>> strip_control_chars("a\x00b")
        'a␚b'
    """
    return CONTROLS.sub("\N{SYMBOL FOR SUBSTITUTE}", str(text))


def _markdown_cell(cell: str) -> str:
    escaped = re.sub(r"([\\`*_\[\]<>|&~$#])", r"\\\1", strip_control_chars(cell))
    first, space, rest = escaped.partition(" ")
    return f"**{first}**{space}{rest}" if isinstance(cell, Bold) else first + space + rest


def _latex_cell(cell: str) -> str:
    escaped = "".join(LATEX.get(char, char) for char in strip_control_chars(cell))
    first, space, rest = escaped.partition(" ")
    return f"\\textbf{{{first}}}{space}{rest}" if isinstance(cell, Bold) else first + space + rest


def shorten_names(names: Iterable[str]) -> dict[str, str]:
    """Shorten names in the middle, as long names often differ at the end; none becomes another.

    Example:
        >>> shorten_names(["speech", "a" * 40])["a" * 40]
        'aaaaaaaaaaaaaaaaa…aaaaaaaaaaaa'
    """
    result: dict[str, str] = {}
    for index, name in enumerate(names, start=1):
        shown = strip_control_chars(name)
        if len(shown) > MAX_NAME:
            shown = f"{shown[: MAX_NAME - 13]}…{shown[-12:]}"
        result[name] = shown if shown not in result.values() else f"{shown[:-4]}… {index}"
    return result
