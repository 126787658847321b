"""Shows a study as one HTML page that needs no other file, no script and no network.

First the answer: which way of combining is better, by how much, and how sure that is. Then what it
rests on, each part only where the summary has it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from polymodal.errors import RunError
from polymodal.record.files import write_whole
from polymodal.study import charts
from polymodal.study.tables import (
    MINUS,
    NONE,
    Bold,
    Rows,
    Summary,
    comparison_table,
    finite,
    interval,
    kind_of,
    lower_is_better,
    members,
    number,
    p_value,
    printable,
    ranked,
    score_keys,
    score_of,
    score_table,
    tail,
    write_tables,
)

REQUIRED = ("study", "name", "status", "members")
ALPHA = 0.05  # of all claims together, where the summary names no other
LONG_LIST = 20  # rows; longer lists are closed at first
MOST_MATRICES, MOST_CURVES = 6, 2  # side by side; further ones are closed at first
MOST_COMPARED = 30
MOST_SPEAKERS = 100
MOST_SAID = 3
MOST_NAMED = 5
KNOWN = ("corpus", "rows", "speakers", "folds", "seeds", "fingerprint", "code")
WHERE = re.compile(r"((?:(?:seed|share|fold|run)\s+[^\s:,]+[,:]\s*)+)(.+)", re.DOTALL)
STYLE = """
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
h1 { font-size: 1.35rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
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
.scroll + .scroll { margin-top: .8rem; } .grid .scroll { margin: 0; }
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


def write_report(summary: Summary, folder: Path) -> Path:
    """Writes `report.html`, and the tables as `tables/{scores,comparisons}.{csv,md,tex}`.

    Equal summaries give equal files. Every text of the summary is shown as text, whatever it holds.

    Args:
        summary: What `study.json` holds: `study`, `name`, `status` and `members`, and what else
            there is.
        folder: The study's folder; made where it is missing.

    Returns:
        The page.

    Raises:
        RunError: The summary lacks a required key.
        OSError: A file cannot be written.
    """
    if missing := [key for key in REQUIRED if key not in summary]:
        raise RunError(
            f"the summary of a study lacks {', '.join(missing)}",
            expected=", ".join(REQUIRED),
            remedy="make the report from the study.json that a study wrote",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(summary, folder / "tables")
    path = folder / "report.html"
    write_whole(path, page(summary))
    return path


def page(summary: Summary) -> str:
    """Returns the page.

    Args:
        summary: What `study.json` holds.

    Returns:
        HTML.
    """
    study = _Study(summary)
    drawn = [(name, title, section(study)) for name, title, section in SECTIONS]
    shown = [one for one in drawn if one[2]]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in shown)
    title = f"Study: {_safe(summary['name'])}"
    about = f"{_safe(summary['study'])}, {_safe(summary['status'])}"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{STYLE}</style></head><body>",
            f'<h1>{title} <span class="side">{about}</span></h1>',
            _answer(study),
            _notes(study),
            f"<nav>{links}</nav>",
            *(f'<h2 id="{name}">{title}</h2>\n{body}' for name, title, body in shown),
            "</body></html>\n",
        ]
    )


class _Study:
    """A summary with its holes filled, and its members from the best to the worst."""

    def __init__(self, summary: Summary) -> None:
        self.summary, self.members = summary, members(summary)
        self.about: Mapping[str, Any] = summary.get("about") or {}
        self.cells: Sequence[Mapping[str, Any]] = summary.get("cells") or []
        self.classes = [str(one) for one in summary.get("classes") or []]
        keys, wanted = score_keys(summary), tail(str(summary.get("score") or ""))
        #: The main score as members name it; None where none of them has it.
        self.key = keys[0] if keys and wanted in ("", tail(keys[0])) else None
        self.score = tail(self.key or wanted or "score")
        self.lower = lower_is_better(self.score, summary)
        self.names = ranked(summary, self.key)
        self.compared: Sequence[Mapping[str, Any]] = summary.get("comparisons") or []
        #: The comparisons of the main score.
        self.duels = [
            one
            for one in self.compared
            if tail(str(one.get("score") or self.score)) == self.score
            and {one.get("a"), one.get("b")} <= {*self.names}
        ]

    def having(self, part: str) -> dict[str, Any]:
        """Those members, from the best to the worst, that have a part."""
        return {name: found for name in self.names if (found := self.members[name].get(part))}

    def scored(self, name: str) -> str:
        return f"{name}, {self.score} {interval(score_of(self.members[name], self.key))}"

    def claimed(self, one: Mapping[str, Any]) -> bool:
        """Whether a difference is claimed: p is small enough and the interval leaves 0 out."""
        error, alpha = _error(one), finite(self.about.get("alpha")) or ALPHA
        low, high = finite(one.get("low")), finite(one.get("high"))
        inside = low is not None and high is not None and low <= 0 <= high
        return error is not None and error < alpha and not inside


# --- the answer -----------------------------------------------------------------------------------


def _answer(study: _Study) -> str:
    """Best member against best vote; the best two where there is only one kind."""
    kinds = {kind: ranked(study.summary, study.key, kind) for kind in ("member", "vote")}
    firsts = [names[0] for names in kinds.values() if names]
    both = len(firsts) == 2
    rivals = firsts if both else [name for names in kinds.values() for name in names][:2]
    rivals.sort(key=study.names.index)
    colour, lines = "fair", []
    if not rivals:
        headline = f"Nothing can be said yet: nobody has the score {study.score}."
    elif len(rivals) == 1:
        only = study.scored(rivals[0])
        headline = f"Only {only}, has been scored: there is nothing to compare it with."
    else:
        colour, headline = _duel(study, *rivals)
        lines = [
            f"Best of {_count(len(names), kind)}: {study.scored(names[0])}."
            for kind, names in sorted(kinds.items(), key=lambda one: rivals[0] not in one[1])
            if names
        ]
        lines += _unproven(study, rivals[0])
    label = "" if not lines else "Best member against best vote" if both else "The best two"
    return (
        f'<div class="verdict {colour}"><p class="side">{label}</p>'
        f"<strong>{_safe(headline)}</strong><p>{_safe(' '.join(lines))}</p></div>"
    )


def _duel(study: _Study, first: str, second: str) -> tuple[str, str]:
    """Colour and sentence about two names, the better mean first."""
    for one in study.duels:
        if {one["a"], one["b"]} == {first, second}:
            claimed = study.claimed(one)
            usual = (
                f"{first} is better than {second}" if claimed else "no difference can be claimed"
            )
            words = str(one.get("verdict") or usual).rstrip(".") + "."
            named = words.startswith((first, second))  # whose spelling is not ours
            return "good" if claimed else "fair", words if named else words[:1].upper() + words[1:]
    return "fair", (
        f"{first} has the better {study.score} than {second}, but the two were not compared: no "
        "difference can be claimed."
    )


def _unproven(study: _Study, best: str) -> list[str]:
    """Whom the best of all is not proven to beat."""
    pairs = [(one["a"], one["b"]) for one in study.duels if not study.claimed(one)]
    tied = {name for pair in pairs if best in pair for name in pair if name != best}
    listed = _listed(sorted(tied, key=study.names.index))
    return [f"Not proven to be worse than {best}: {listed}."] if tied else []


def _notes(study: _Study) -> str:
    """What keeps the page from being the whole study, and the warnings."""
    status, lines = study.summary["status"], []
    if status != "finished":
        done = sum(one.get("status") == "finished" for one in study.cells)
        of = f", {done} of {_count(len(study.cells), 'cell')} finished" if study.cells else ""
        lines.append(f"The study is {status}{of}: every figure is of what is there.")
    lines += _mixed(study.cells)
    counts = Counter(map(str, study.summary.get("warnings") or []))
    lines += [
        words if times == 1 else f"{words} ({times} times)" for words, times in counts.items()
    ]
    if not lines:
        return ""
    listed = _listing(map(_safe, lines), MOST_NAMED)
    return f'<div class="verdict fair"><p>Worth knowing</p>{listed}</div>'


def _mixed(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which members have cells of which version, where there are several."""
    made: dict[str, Counter[str]] = {}
    for one in cells:
        if one.get("version") is not None:
            made.setdefault(str(one.get("member")), Counter())[str(one["version"])] += 1
    if len({version for counts in made.values() for version in counts}) < 2:
        return []
    groups: dict[str, list[str]] = {}
    for name, counts in made.items():
        told = " and ".join(f"{times} of version {one}" for one, times in sorted(counts.items()))
        told = told if len(counts) > 1 else f"all of version {next(iter(counts))}"
        groups.setdefault(told, []).append(name)
    told = "; ".join(f"{_listed(names)}: {words}" for words, names in groups.items())
    return [f"The study was changed between its cells. {told}."]


# --- what it rests on -----------------------------------------------------------------------------


def _forest(study: _Study) -> str:
    found = {name: score_of(study.members[name], study.key) for name in study.names}
    drawn = [
        charts.Estimate(name, mean, *_ends(one), kind_of(study.members[name]))
        for name, one in found.items()
        if (mean := finite(one.get("mean"))) is not None
    ]
    if study.key is None or not drawn:
        return ""
    chance = 1 / len(study.classes) if study.classes and study.score == "uar" else None
    left = [name for name in study.names if name not in {one.name for one in drawn}]
    better = "smaller" if study.lower else "larger"
    note = f"Mean and 95 % interval, the best on top; {better} is better."
    note += f" Without this score: {', '.join(left)}." if left else ""
    return _figure(charts.forest(drawn, study.key, chance=chance), note)


def _scores(study: _Study) -> str:
    keys = score_keys(study.summary)
    if not keys:
        return ""
    rows = score_table(study.summary, study.names)
    rows[0].append("n")
    for row in rows[1:]:
        row.append(_value(score_of(study.members[row[0]], keys[0]).get("n")))
    ends = {"csv": "CSV", "md": "Markdown", "tex": "LaTeX"}
    files = " and ".join(
        f"{name} as "
        + ", ".join(f'<a href="tables/{name}.{end}">{told}</a>' for end, told in ends.items())
        for name in ("scores", "comparisons")
    )
    return (
        "<p>Mean [95 % interval]; the best mean of a column is bold, ↑ larger and ↓ smaller is "
        f"better, n counts what was scored. Files: {files}.</p>{_table(rows, words=(0, 1))}"
    )


def _comparisons(study: _Study) -> str:
    rows = comparison_table(study.summary)
    rows[0].insert(6, "over")
    for row, one in zip(rows[1:], study.compared, strict=True):
        units = finite(one.get("num_units"))
        row.insert(6, NONE if units is None else _count(int(units), str(one.get("unit") or "unit")))
        row[3] = Bold(row[3]) if study.claimed(one) else row[3]
    heading = _count(len(study.compared), "comparison")
    table = _folded(heading, _table(rows, words=(0, 1, 2, 7)), len(rows))
    return _matrix(study) + table if study.compared else ""


def _matrix(study: _Study) -> str:
    """Row minus column of the main score, from the best to the worst."""
    found: dict[tuple[str, str], tuple[float, Mapping[str, Any]]] = {}
    for one in study.duels:
        if (difference := finite(one.get("difference"))) is not None:
            found[one["a"], one["b"]] = difference, one
            found[one["b"], one["a"]] = -difference, one
    names = [name for name in study.names if any(name in pair for pair in found)]
    if not 3 <= len(names) <= MOST_COMPARED:
        return ""

    def cell(row: str, column: str) -> str:
        if (row, column) not in found:
            return f'<td class="faint">{"·" if row == column else ""}</td>'
        difference, one = found[row, column]
        shown, error = number(difference, signed=True), _safe(p_value(_error(one)))
        told = f'<span class="faint">{shown}</span>'
        if study.claimed(one):
            kind, mark = ("good", "▲") if (difference > 0) != study.lower else ("bad", "▼")
            told = f'<b class="{kind}">{mark} {shown}</b>'
        return f"<td>{told}<small>{error}</small></td>"

    score = _safe(study.score)
    note = f"{score} of the row {MINUS} {score} of the column, below it the corrected p. ▲ the row "
    note += "is better, ▼ it is worse; without a mark no difference can be claimed."
    body = {name: [cell(name, other) for other in names] for name in names}
    return f"<p>{note}</p>{_heated('', names, body)}"


def _gaps(study: _Study) -> str:
    found = []
    for name, gap in study.having("gap").items():
        train, other = finite(gap.get("train")), finite(gap.get("other"))
        if train is not None and other is not None:
            found.append(charts.Gap(name, train, other, str(gap.get("against") or "val")))
    if not found:
        return ""
    found.sort(key=lambda one: -abs(one.train - one.other))
    named = {str(gap.get("score") or study.score) for gap in study.having("gap").values()}
    note = "How much of what was learnt does not carry over; the largest gap on top."
    return _figure(charts.dumbbell(found, ", ".join(sorted(named))), note)


def _curves(study: _Study) -> str:
    found = {name: _points(curve) for name, curve in study.having("curve").items()}
    lines = [(name, points) for name, points in found.items() if len(points) > 1]
    size = len(charts.COLOURS)
    every = [one for _, points in lines for _, one in points]
    span = charts.span(every) if every else (0.0, 1.0)  # of all, so that pictures can be compared
    drawn = [
        charts.curves(dict(lines[start : start + size]), study.score, span)
        for start in range(0, len(lines), size)
    ]
    note = "<p>Mean and 95 % interval; a curve that still rises asks for more data.</p>"
    grid = _grid([_figure(one, kind="narrow") for one in drawn], MOST_CURVES, "grid two")
    return note + grid if drawn else ""


def _points(curve: Sequence[Mapping[str, Any]]) -> list[tuple[float, charts.Estimate]]:
    points = []
    for one in curve:
        share, mean = finite(one.get("share")), finite(one.get("mean"))
        if share is not None and share > 0 and mean is not None:
            points.append((share, charts.Estimate("", mean, *_ends(one))))
    return sorted(points, key=lambda point: point[0])


def _subsets(study: _Study) -> str:
    found = study.having("subsets")
    parts = {subset: subset.split("+") for one in found.values() for subset in one}
    if not parts:
        return ""
    every = list(dict.fromkeys(part for one in parts.values() for part in one))
    initials = {part: part[:1].upper() for part in every}
    brief = len({*initials.values()}) == len(every)
    order = sorted(parts, key=lambda one: (len(parts[one]), [*map(every.index, parts[one])]))
    scores = {
        one: [score_of({"scores": subsets.get(one)}, study.key) for subsets in found.values()]
        for one in order
    }
    heat = _heat(score.get("mean") for row in scores.values() for score in row)
    body = {
        "".join(initials[part] for part in parts[one]) if brief else " + ".join(parts[one]): [
            _heat_cell(heat(score.get("mean")), interval(score)) for score in row
        ]
        for one, row in scores.items()
    }
    meant = f": {', '.join(f'{initials[part]} {part}' for part in every)}" if brief else ""
    note = f"{study.score} of each member when it gets these modalities only{meant}."
    return f"<p>{_safe(note)}</p>{_heated('', [*found], body, upright=False)}"


def _confusions(study: _Study) -> str:
    drawn = [_confusion(study, *one) for one in study.having("confusion").items()]
    note = "<p>Rows are true, columns were said: the share of the row, and the count below it.</p>"
    return note + _grid(drawn, MOST_MATRICES, "grid") if drawn else ""


def _confusion(study: _Study, name: str, matrix: Sequence[Sequence[object]]) -> str:
    counts = [[finite(cell) or 0.0 for cell in row] for row in matrix]
    fits = len(study.classes) == len(counts)
    labels = study.classes if fits else [f"class {place}" for place in range(len(counts))]
    body = {}
    for label, row in zip(labels, counts, strict=True):
        shares = [one / (sum(row) or 1.0) for one in row]
        body[label] = [
            _heat_cell(share, number(share), f"{count:,.0f}")
            for share, count in zip(shares, row, strict=True)
        ]
    return _heated("true / said", labels, body, caption=name)


def _speakers(study: _Study) -> str:
    found: dict[str, dict[str, float]] = {}
    every: dict[str, list[float]] = {}
    for name, values in study.having("per_speaker").items():
        for speaker, value in values.items():
            if (share := finite(value)) is not None:
                found.setdefault(name, {})[speaker] = share
                every.setdefault(speaker, []).append(share)
    if not found:
        return ""
    hardest = sorted(every, key=lambda one: (sum(every[one]) / len(every[one]), one))
    heat = _heat(share for shares in every.values() for share in shares)
    body = {
        speaker: [
            _heat_cell(heat(one.get(speaker)), number(one.get(speaker))) for one in found.values()
        ]
        for speaker in hardest[:MOST_SPEAKERS]
    }
    drawn = charts.strip({name: sorted(one.values()) for name, one in found.items()}, "accuracy")
    note = f"The hardest for all together: {', '.join(hardest[:3])}." if len(hardest) > 3 else ""
    shown = f", {MOST_SPEAKERS} shown" if len(hardest) > MOST_SPEAKERS else ""
    heading = f"{_count(len(hardest), 'speaker')}, the hardest first{shown}"
    return _figure(drawn, note) + _folded(heading, _heated("speaker", [*found], body))


def _said(study: _Study) -> str:
    total = int(finite(study.about.get("folds")) or 0) * len(study.about.get("seeds") or [0])
    rows = [["vote", "of", "voting", "what it said"]]
    for name, member in study.members.items():
        if kind_of(member) == "vote":
            of, words = _value(member.get("of")), _collapsed(member.get("said") or [], total)
            rows.append([name, of, _value(member.get("voting")), _listing(words, MOST_SAID)])
    return _table(rows, words=range(4), raw=True) if len(rows) > 1 else ""


def _collapsed(said: Sequence[object], total: int) -> list[str]:
    """Identical words once, with the folds that said them, as HTML."""
    groups: dict[str, list[str]] = {}
    for one in map(str, said):
        found = WHERE.fullmatch(one)
        place, words = (found[1].strip(" ,:"), found[2]) if found else ("", one)
        groups.setdefault(words, []).append(place)
    lines = []
    for words, places in sorted(groups.items(), key=lambda one: -len(one[1])):
        times = len(places)
        head = f"{times} times: " if times > 1 else ""
        if any(places):
            head = f"in {times} of {total} folds: " if times <= total else f"in {times} folds: "
        told = f" ({'; '.join(places)})" if any(places) and times < min(total, 4) else ""
        lines.append(f'{head}{_safe(words)}<span class="side">{_safe(told)}</span>')
    return lines


def _cells(study: _Study) -> str:
    if not study.cells:
        return ""
    columns = ("member", "status", "seed", "share", "version", "reused")
    rows = [
        [
            *(_value(one.get(column)) for column in columns),
            _duration(one.get("duration_s")),
            _value(one.get("run")),
        ]
        for one in study.cells
    ]
    states = Counter(row[1] for row in rows)
    new = [one for one in study.cells if not one.get("reused")]
    spent = sum(finite(one.get("duration_s")) or 0.0 for one in new)
    told = ", ".join(f"{times} {status}" for status, times in states.items())
    told = f"{_count(len(rows), 'cell')}: {told}; {len(rows) - len(new)} reused"
    heading, words = [*columns, "time", "run"], (0, 1, 7)
    failed = [row for row in rows if row[1] != "finished"]
    first = _table([heading, *failed], words=words) if 0 < len(failed) < len(rows) else ""
    table = _folded(
        f"{told}; {_duration(spent)} in all", _table([heading, *rows], words=words), len(rows)
    )
    return _versions(study) + first + table


def _versions(study: _Study) -> str:
    versions = study.summary.get("versions") or []
    made = Counter(_value(one.get("version")) for one in study.cells)
    rows = [["version", "started", "code", "config", "cells"]]
    rows += [[_value(one.get(column)) for column in rows[0][:4]] for one in versions]
    for row in rows[1:]:
        row.append(f"{made[row[0]]:,}")
    return _table(rows, words=range(4)) if len(versions) > 1 else ""


def _data(study: _Study) -> str:
    about = {name: study.about[name] for name in (*KNOWN, *study.about) if name in study.about}
    about |= {"classes": study.classes} if study.classes else {}
    about.pop("command", None)
    if "leaks" in about:
        about["leaks between the parts"] = about.pop("leaks") or "none were found"
    rows = [[name, _value(value)] for name, value in about.items()]
    return _table([["", ""], *rows], words=(0, 1)) if rows else ""


def _repeat(study: _Study) -> str:
    command, runs = study.about.get("command"), study.summary.get("runs") or []
    told = f"<pre><code>{_safe(command)}</code></pre>" if command else ""
    listed = _listing((f"<code>{_safe(one)}</code>" for one in runs), len(runs))
    return told + (_folded(_count(len(runs), "run"), listed) if runs else "")


SECTIONS: tuple[tuple[str, str, Callable[[_Study], str]], ...] = (
    ("main", "Main score", _forest),
    ("scores", "All scores", _scores),
    ("comparisons", "Comparisons", _comparisons),
    ("gaps", "Over-fitting", _gaps),
    ("curves", "Learning curves", _curves),
    ("subsets", "Subsets of modalities", _subsets),
    ("confusion", "Confusion", _confusions),
    ("speakers", "Speakers", _speakers),
    ("votes", "What the votes said", _said),
    ("data", "Data and leaks", _data),
    ("cells", "Cells", _cells),
    ("repeat", "Repeat it", _repeat),
)


# --- values in words ------------------------------------------------------------------------------


def _ends(one: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return finite(one.get("low")), finite(one.get("high"))


def _error(one: Mapping[str, Any]) -> float | None:
    corrected = finite(one.get("p_corrected"))
    return finite(one.get("p")) if corrected is None else corrected


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _duration(seconds: object) -> str:
    if (found := finite(seconds)) is None:
        return NONE
    if found < 60:
        return f"{found:.1f} s"
    minutes = round(found / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _value(value: object) -> str:
    """Any value of a summary in words."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_value(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, float):
        return NONE if (found := finite(value)) is None else f"{found:,.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


# --- HTML -----------------------------------------------------------------------------------------


def _safe(text: object) -> str:
    return escape(printable(text))


def _figure(svg: str, caption: str = "", *, kind: str = "wide") -> str:
    note = f"<figcaption>{_safe(caption)}</figcaption>" if caption else ""
    return f'<figure class="{kind}">{svg}{note}</figure>'


def _folded(heading: str, body: str, num_rows: int = LONG_LIST + 1) -> str:
    """Something that can be closed, and is at first if it is long."""
    shown = "" if num_rows > LONG_LIST else " open"
    return f"<details{shown}><summary>{_safe(heading)}</summary>{body}</details>"


def _grid(drawn: Sequence[str], most: int, kind: str) -> str:
    """Things side by side, the first ones open."""
    first, rest = (
        f'<div class="{kind}">{"".join(part)}</div>' for part in (drawn[:most], drawn[most:])
    )
    return first + (_folded(f"{len(drawn) - most} more", rest) if drawn[most:] else "")


def _listing(lines: Iterable[str], most: int) -> str:
    """A list of HTML, the first ones open."""
    items = [f"<li>{one}</li>" for one in lines]
    rest = "".join(items[most:])
    more = _folded(f"{len(items) - most} more", f"<ul>{rest}</ul>") if rest else ""
    return f"<ul>{''.join(items[:most])}</ul>{more}" if items else NONE


def _table(rows: Rows, *, words: Iterable[int], raw: bool = False) -> str:
    """A table of text.

    Args:
        rows: The heading and the rows; an empty heading is left out.
        words: Columns of words; the others are numbers.
        raw: Whether the last column is HTML already.

    Returns:
        HTML.
    """
    wordy, last = {*words}, len(rows[0]) - 1

    def line(row: Sequence[str], tag: str) -> str:
        cells = [
            f'<{tag} class="text">{one if raw and place == last else _safe(one)}</{tag}>'
            if place in wordy
            else f"<{tag}>{_figures(one)}</{tag}>"
            for place, one in enumerate(row)
        ]
        return f"<tr>{''.join(cells)}</tr>"

    heading, *others = rows
    head = f"<thead>{line(heading, 'th')}</thead>" if any(heading) else ""
    body = "".join(line(row, "td") for row in others)
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _figures(text: str) -> str:
    """A number and what follows it: its interval stands back."""
    first, _, rest = text.partition(" [")
    shown = f"<b>{_safe(first)}</b>" if isinstance(text, Bold) else _safe(first)
    return shown + (f' <span class="side">[{_safe(rest)}</span>' if rest else "")


def _heated(
    corner: str,
    columns: Sequence[str],
    body: Mapping[str, Sequence[str]],
    *,
    caption: str = "",
    upright: bool = True,
) -> str:
    """A table of shaded cells.

    Args:
        corner: Text above the names of the rows.
        columns: Names of the columns.
        body: Name of each row to its cells, HTML.
        caption: Text above the table.
        upright: Whether the names of narrow columns stand upright.

    Returns:
        HTML.
    """
    kind = ' class="upright"' if upright else ""
    names = charts.shortened(columns)
    head = "".join(
        f'<th class="head" title="{_safe(name)}"><span{kind}>{_safe(shown)}</span></th>'
        for name, shown in names.items()
    )
    rows = "".join(
        f'<tr><th class="text">{_safe(name)}</th>{"".join(cells)}</tr>'
        for name, cells in body.items()
    )
    title = f"<caption>{_safe(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table class="heat">{title}<thead><tr><th class="text">'
        f"{_safe(corner)}</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _heat(values: Iterable[object]) -> Callable[[object], float]:
    """From a value to its place between the smallest and the largest one."""
    known = [one for one in map(finite, values) if one is not None] or [0.0]
    low, width = min(known), (max(known) - min(known)) or 1.0
    return lambda value: 0.0 if (found := finite(value)) is None else (found - low) / width


def _heat_cell(share: float, text: str, small: str = "") -> str:
    style = f' style="background: rgb(var(--heat) / {0.55 * share:.2f})"' if share > 0 else ""
    below = f"<small>{_safe(small)}</small>" if small else ""
    return f"<td{style}>{_figures(text)}{below}</td>"
