"""Shows a study as one HTML page that needs no other file, no script and no network.

First the answer: which way of combining is better, by how much, and how sure that is. Then what it
rests on, each part only where the summary has it.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from polymodal.errors import RunError
from polymodal.report import charts, format, html
from polymodal.report.format import MINUS, NONE, Bold, as_finite, format_p, format_score, interval
from polymodal.report.sections import ExampleLoader, errors, leaks, no_examples
from polymodal.report.study_embeddings import fusion_section
from polymodal.report.study_tables import (
    Summary,
    class_table,
    comparison_table,
    kind_of,
    lower_is_better,
    members,
    ranked,
    score_keys,
    score_of,
    score_table,
    tail,
    write_tables,
)
from polymodal.security.files import atomic_write_text

REQUIRED = ("study", "name", "status", "members")
ALPHA = 0.05  # of all claims together, where the summary names no other
MOST_MATRICES, MOST_CURVES = 6, 2  # side by side; further ones are closed at first
MAX_COMPARED = 30
MAX_SPEAKERS = 100
MAX_LOG_LINES = 3
KNOWN = ("corpus", "rows", "speakers", "folds", "seeds", "fingerprint", "code")
WHERE = re.compile(r"((?:(?:seed|share|fold|run)\s+[^\s:,]+[,:]\s*)+)(.+)", re.DOTALL)


def write_report(
    summary: Summary,
    folder: Path,
    *,
    heard: ExampleLoader = no_examples,
    figures: Path | None = None,
) -> Path:
    """Write `report.html`, and the tables as `tables/*.{csv,md,tex}`.

    Equal summaries give equal files. Every text of the summary is shown as text, whatever it holds.

    Args:
        summary: What `study.json` holds: `study`, `name`, `status` and `members`, and what else
            there is.
        folder: The study's folder; made where it is missing.
        heard: Reads what utterances were, by id.
        figures: Where the pictures are written as SVG and PDF, too; None for nowhere.

    Raises:
        RunError: The summary lacks a required key.
        OSError: A file cannot be written.
    """
    if missing := [key for key in REQUIRED if key not in summary]:
        raise RunError(
            f"the summary of a study lacks {', '.join(missing)}",
            expected=", ".join(REQUIRED),
            hint="make the report from the study.json that a study wrote",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(summary, folder / "tables")
    path = folder / "report.html"
    with charts.export_figures(figures) if figures else nullcontext():
        atomic_write_text(path, page(summary, heard))
    return path


def page(summary: Summary, heard: ExampleLoader = no_examples) -> str:
    """Return the page.

    Args:
        summary: What `study.json` holds.
        heard: Reads what utterances were, by id.
    """
    study = _Study(summary, heard)
    sections = [(name, title, section(study)) for name, title, section in SECTIONS]
    about = f"{summary['study']}, {summary['status']}"
    head = _headline(study) + "\n" + _notes(study)
    return html.document(f"Study: {summary['name']}", about, head, sections)


class _Study:
    """A summary with its holes filled, and its members from the best to the worst."""

    def __init__(self, summary: Summary, heard: ExampleLoader) -> None:
        self.summary, self.members, self.heard = summary, members(summary), heard
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

    def with_section(self, part: str) -> dict[str, Any]:
        """Those members, from the best to the worst, that have a part."""
        return {name: value for name in self.names if (value := self.members[name].get(part))}

    def describe(self, name: str) -> str:
        return f"{name}, {self.score} {interval(score_of(self.members[name], self.key))}"

    def is_significant(self, one: Mapping[str, Any]) -> bool:
        """Whether a difference is claimed: p is small enough and the interval leaves 0 out."""
        error, alpha = _error(one), as_finite(self.about.get("alpha")) or ALPHA
        low, high = as_finite(one.get("low")), as_finite(one.get("high"))
        inside = low is not None and high is not None and low <= 0 <= high
        return error is not None and error < alpha and not inside


# --- the answer -----------------------------------------------------------------------------------


def _headline(study: _Study) -> str:
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
        only = study.describe(rivals[0])
        headline = f"Only {only}, has been scored: there is nothing to compare it with."
    else:
        colour, headline = _pairwise_comparison(study, *rivals)
        lines = [
            f"Best of {format.pluralise(len(names), kind)}: {study.describe(names[0])}."
            for kind, names in sorted(kinds.items(), key=lambda one: rivals[0] not in one[1])
            if names
        ]
        lines += _unproven(study, rivals[0])
    label = "" if not lines else "Best member against best vote" if both else "The best two"
    return (
        f'<div class="verdict {colour}"><p class="side">{label}</p>'
        f"<strong>{html.escape_html(headline)}</strong>"
        f"<p>{html.escape_html(' '.join(lines))}</p></div>"
    )


def _pairwise_comparison(study: _Study, first: str, second: str) -> tuple[str, str]:
    """Colour and sentence about two names, the better mean first."""
    for duel in study.duels:
        if {duel["a"], duel["b"]} == {first, second}:
            claimed = study.is_significant(duel)
            usual = (
                f"{first} is better than {second}" if claimed else "no difference can be claimed"
            )
            message = str(duel.get("verdict") or usual).rstrip(".") + "."
            named = message.startswith((first, second))  # whose spelling is not ours
            return "good" if claimed else "fair", message if named else message[
                :1
            ].upper() + message[1:]
    return "fair", (
        f"{first} has the better {study.score} than {second}, but the two were not compared: no "
        "difference can be claimed."
    )


def _unproven(study: _Study, best: str) -> list[str]:
    """Whom the best of all is not proven to beat."""
    pairs = [(duel["a"], duel["b"]) for duel in study.duels if not study.is_significant(duel)]
    tied = {name for pair in pairs if best in pair for name in pair if name != best}
    listed = format.join_names(sorted(tied, key=study.names.index))
    return [f"Not proven to be worse than {best}: {listed}."] if tied else []


def _notes(study: _Study) -> str:
    """What keeps the page from being the whole study, and the warnings."""
    status, lines = study.summary["status"], []
    if status != "finished":
        done = sum(cell.get("status") == "finished" for cell in study.cells)
        of = (
            f", {done} of {format.pluralise(len(study.cells), 'cell')} finished"
            if study.cells
            else ""
        )
        lines.append(f"The study is {status}{of}: every figure is of what is there.")
    lines += _mixed_versions(study.cells)
    counts = Counter(map(str, study.summary.get("warnings") or []))
    lines += [
        words if times == 1 else f"{words} ({times} times)" for words, times in counts.items()
    ]
    if not lines:
        return ""
    listed = html.bullet_list(map(html.escape_html, lines), format.MAX_NAMED)
    return f'<div class="verdict fair"><p>Worth knowing</p>{listed}</div>'


def _mixed_versions(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which members have cells of which version, where there are several."""
    made: dict[str, Counter[str]] = {}
    for cell in cells:
        if cell.get("version") is not None:
            made.setdefault(str(cell.get("member")), Counter())[str(cell["version"])] += 1
    if len({version for counts in made.values() for version in counts}) < 2:
        return []
    groups: dict[str, list[str]] = {}
    for name, counts in made.items():
        told = " and ".join(f"{times} of version {one}" for one, times in sorted(counts.items()))
        told = told if len(counts) > 1 else f"all of version {next(iter(counts))}"
        groups.setdefault(told, []).append(name)
    told = "; ".join(f"{format.join_names(names)}: {words}" for words, names in groups.items())
    return [f"The study was changed between its cells. {told}."]


# --- what it rests on -----------------------------------------------------------------------------


def _forest(study: _Study) -> str:
    found = {name: score_of(study.members[name], study.key) for name in study.names}
    drawn = [
        charts.Estimate(name, mean, *_ends(one), kind_of(study.members[name]))
        for name, one in found.items()
        if (mean := as_finite(one.get("mean"))) is not None
    ]
    if study.key is None or not drawn:
        return ""
    chance = 1 / len(study.classes) if study.classes and study.score == "uar" else None
    left = [name for name in study.names if name not in {one.name for one in drawn}]
    better = "smaller" if study.lower else "larger"
    note = f"Mean and 95 % interval, the best on top; {better} is better."
    note += f" Without this score: {', '.join(left)}." if left else ""
    return html.figure(charts.forest_plot(drawn, study.key, chance=chance), note)


def _scores(study: _Study) -> str:
    keys = score_keys(study.summary)
    if not keys:
        return ""
    rows = score_table(study.summary, study.names)
    rows[0].append("n")
    for row in rows[1:]:
        row.append(format.value(score_of(study.members[row[0]], keys[0]).get("n")))
    ends = {"csv": "CSV", "md": "Markdown", "tex": "LaTeX"}
    files = " and ".join(
        f"{name} as "
        + ", ".join(f'<a href="tables/{name}.{end}">{told}</a>' for end, told in ends.items())
        for name in ("scores", "comparisons")
    )
    return (
        "<p>Mean [95 % interval]; the best mean of a column is bold, ↑ larger and ↓ smaller is "
        f"better, n counts what was scored. Files: {files}.</p>{html.table(rows, words=(0, 1))}"
    )


def _comparisons(study: _Study) -> str:
    rows = comparison_table(study.summary)
    rows[0].insert(6, "over")
    for row, one in zip(rows[1:], study.compared, strict=True):
        units = as_finite(one.get("num_units"))
        row.insert(
            6,
            NONE if units is None else format.pluralise(int(units), str(one.get("unit") or "unit")),
        )
        row[3] = Bold(row[3]) if study.is_significant(one) else row[3]
    heading = format.pluralise(len(study.compared), "comparison")
    table = html.collapsible(heading, html.table(rows, words=(0, 1, 2, 7)), len(rows))
    return _matrix(study) + table if study.compared else ""


def _matrix(study: _Study) -> str:
    """Row minus column of the main score, from the best to the worst."""
    found: dict[tuple[str, str], tuple[float, Mapping[str, Any]]] = {}
    for one in study.duels:
        if (difference := as_finite(one.get("difference"))) is not None:
            found[one["a"], one["b"]] = difference, one
            found[one["b"], one["a"]] = -difference, one
    names = [name for name in study.names if any(name in pair for pair in found)]
    if not 3 <= len(names) <= MAX_COMPARED:
        return ""

    def cell(row: str, column: str) -> str:
        if (row, column) not in found:
            return f'<td class="faint">{"·" if row == column else ""}</td>'
        difference, one = found[row, column]
        shown, error = (
            format_score(difference, signed=True),
            html.escape_html(format_p(_error(one))),
        )
        told = f'<span class="faint">{shown}</span>'
        if study.is_significant(one):
            kind, mark = ("good", "▲") if (difference > 0) != study.lower else ("bad", "▼")
            told = f'<b class="{kind}">{mark} {shown}</b>'
        return f"<td>{told}<small>{error}</small></td>"

    score = html.escape_html(study.score)
    note = f"{score} of the row {MINUS} {score} of the column, below it the corrected p. ▲ the row "
    note += "is better, ▼ it is worse; without a mark no difference can be claimed."
    body = {name: [cell(name, other) for other in names] for name in names}
    return f"<p>{note}</p>{html.heatmap_table('', names, body)}"


def _gaps(study: _Study) -> str:
    found = []
    for name, gap in study.with_section("gap").items():
        train, other = as_finite(gap.get("train")), as_finite(gap.get("other"))
        if train is not None and other is not None:
            found.append(charts.TrainTestGap(name, train, other, str(gap.get("against") or "val")))
    if not found:
        return ""
    found.sort(key=lambda one: -abs(one.train - one.other))
    named = {str(gap.get("score") or study.score) for gap in study.with_section("gap").values()}
    note = "How much of what was learnt does not carry over; the largest gap on top."
    return html.figure(charts.dumbbell_plot(found, ", ".join(sorted(named))), note)


def _embeddings(study: _Study) -> str:
    ordered = {name: study.members[name] for name in study.names}
    return fusion_section(ordered, study.classes, "gaps")


def _curves(study: _Study) -> str:
    found = {name: _points(curve) for name, curve in study.with_section("curve").items()}
    lines = [(name, points) for name, points in found.items() if len(points) > 1]
    size = len(charts.COLOURS)
    every = [one for _, points in lines for _, one in points]
    span = (
        charts.axis_limits(every) if every else (0.0, 1.0)
    )  # of all, so that pictures can be compared
    drawn = [
        charts.curves(dict(lines[start : start + size]), study.score, span)
        for start in range(0, len(lines), size)
    ]
    note = "<p>Mean and 95 % interval; a curve that still rises asks for more data.</p>"
    grid = html.grid([html.figure(one, kind="narrow") for one in drawn], MOST_CURVES, "grid two")
    return note + grid if drawn else ""


def _points(curve: Sequence[Mapping[str, Any]]) -> list[tuple[float, charts.Estimate]]:
    points = []
    for one in curve:
        share, mean = as_finite(one.get("share")), as_finite(one.get("mean"))
        if share is not None and share > 0 and mean is not None:
            points.append((share, charts.Estimate("", mean, *_ends(one))))
    return sorted(points, key=lambda point: point[0])


def _subsets(study: _Study) -> str:
    result = study.with_section("subsets")
    parts = {subset: subset.split("+") for one in result.values() for subset in one}
    if not parts:
        return ""
    every = list(dict.fromkeys(part for one in parts.values() for part in one))
    initials = {part: part[:1].upper() for part in every}
    brief = len({*initials.values()}) == len(every)
    order = sorted(parts, key=lambda one: (len(parts[one]), [*map(every.index, parts[one])]))
    scores = {
        one: [score_of({"scores": subsets.get(one)}, study.key) for subsets in result.values()]
        for one in order
    }
    heat = html.heat(score.get("mean") for row in scores.values() for score in row)
    body = {
        "".join(initials[part] for part in parts[one]) if brief else " + ".join(parts[one]): [
            html.heatmap_cell(heat(score.get("mean")), interval(score)) for score in row
        ]
        for one, row in scores.items()
    }
    meant = f": {', '.join(f'{initials[part]} {part}' for part in every)}" if brief else ""
    note = f"{study.score} of each member when it gets these modalities only{meant}."
    return (
        f"<p>{html.escape_html(note)}</p>{html.heatmap_table('', [*result], body, upright=False)}"
    )


def _confusions(study: _Study) -> str:
    drawn = [_confusion(study, *one) for one in study.with_section("confusion").items()]
    note = "<p>Rows are true, columns were said: the share of the row, and the count below it.</p>"
    return note + html.grid(drawn, MOST_MATRICES, "grid") if drawn else ""


def _confusion(study: _Study, name: str, matrix: Sequence[Sequence[object]]) -> str:
    counts = [[as_finite(cell) or 0.0 for cell in row] for row in matrix]
    fits = len(study.classes) == len(counts)
    labels = study.classes if fits else [f"class {place}" for place in range(len(counts))]
    body = {}
    for label, row in zip(labels, counts, strict=True):
        shares = [one / (sum(row) or 1.0) for one in row]
        body[label] = [
            html.heatmap_cell(share, format_score(share), f"{count:,.0f}")
            for share, count in zip(shares, row, strict=True)
        ]
    return html.heatmap_table("true / said", labels, body, caption=name)


def _speakers(study: _Study) -> str:
    found: dict[str, dict[str, float]] = {}
    every: dict[str, list[float]] = {}
    for name, values in study.with_section("per_speaker").items():
        for speaker, value in values.items():
            if (share := as_finite(value)) is not None:
                found.setdefault(name, {})[speaker] = share
                every.setdefault(speaker, []).append(share)
    if not found:
        return ""
    hardest = sorted(every, key=lambda one: (sum(every[one]) / len(every[one]), one))
    heat = html.heat(share for shares in every.values() for share in shares)
    body = {
        speaker: [
            html.heatmap_cell(heat(one.get(speaker)), format_score(one.get(speaker)))
            for one in found.values()
        ]
        for speaker in hardest[:MAX_SPEAKERS]
    }
    drawn = charts.strip_plot(
        {name: sorted(one.values()) for name, one in found.items()}, "accuracy"
    )
    note = f"The hardest for all together: {', '.join(hardest[:3])}." if len(hardest) > 3 else ""
    shown = f", {MAX_SPEAKERS} shown" if len(hardest) > MAX_SPEAKERS else ""
    heading = f"{format.pluralise(len(hardest), 'speaker')}, the hardest first{shown}"
    return html.figure(drawn, note) + html.collapsible(
        heading, html.heatmap_table("speaker", [*found], body)
    )


def _classes(study: _Study) -> str:
    rows = class_table(study.summary)
    if len(rows) == 1:
        return ""
    note = "<p>Recall of each class: the share of its utterances that was recognised.</p>"
    return note + html.table(rows, words=(0,))


def _calibration(study: _Study) -> str:
    drawn = []
    for name, bins in study.with_section("reliability").items():
        points = [
            (sure, right, int(num))
            for sure, right, num in (map(as_finite, one) for one in bins)
            if sure is not None and right is not None and num
        ]
        if points:
            drawn.append(html.figure(charts.reliability(points, name), name, kind="narrow"))
    note = "<p>Below the dotted line a member is surer than it is right.</p>"
    return note + html.grid(drawn, MOST_CURVES, "grid two") if drawn else ""


def _errors(study: _Study) -> str:
    """Of the best, as a list a member would be long."""
    for name, worst in study.with_section("errors").items():
        note = f"<p>Of which {html.escape_html(name)}, the best, was surest, and wrong:</p>"
        return note + errors(worst, study.heard)
    return ""


def _log_excerpt(study: _Study) -> str:
    total = int(as_finite(study.about.get("folds")) or 0) * len(study.about.get("seeds") or [0])
    rows = [["vote", "of", "voting", "what it said"]]
    for name, member in study.members.items():
        if kind_of(member) == "vote":
            of, words = (
                format.value(member.get("of")),
                _group_identical(member.get("said") or [], total),
            )
            rows.append(
                [
                    name,
                    of,
                    format.value(member.get("voting")),
                    html.bullet_list(words, MAX_LOG_LINES),
                ]
            )
    return html.table(rows, words=range(4), raw=True) if len(rows) > 1 else ""


def _group_identical(said: Sequence[object], total: int) -> list[str]:
    """Identical words once, with the folds that said them, as HTML."""
    groups: dict[str, list[str]] = {}
    for one in map(str, said):
        match = WHERE.fullmatch(one)
        place, words = (match[1].strip(" ,:"), match[2]) if match else ("", one)
        groups.setdefault(words, []).append(place)
    lines = []
    for words, places in sorted(groups.items(), key=lambda one: -len(one[1])):
        times = len(places)
        head = f"{times} times: " if times > 1 else ""
        if any(places):
            head = f"in {times} of {total} folds: " if times <= total else f"in {times} folds: "
        told = f" ({'; '.join(places)})" if any(places) and times < min(total, 4) else ""
        lines.append(
            f'{head}{html.escape_html(words)}<span class="side">{html.escape_html(told)}</span>'
        )
    return lines


def _cells(study: _Study) -> str:
    if not study.cells:
        return ""
    columns = ("member", "status", "seed", "share", "version", "reused")
    rows = [
        [
            *(format.value(cell.get(column)) for column in columns),
            format.duration(cell.get("duration_s")),
            format.value(cell.get("run")),
        ]
        for cell in study.cells
    ]
    states = Counter(row[1] for row in rows)
    new = [cell for cell in study.cells if not cell.get("reused")]
    spent = sum(as_finite(one.get("duration_s")) or 0.0 for one in new)
    told = ", ".join(f"{times} {status}" for status, times in states.items())
    told = f"{format.pluralise(len(rows), 'cell')}: {told}; {len(rows) - len(new)} reused"
    heading, words = [*columns, "time", "run"], (0, 1, 7)
    failed = [row for row in rows if row[1] != "finished"]
    first = html.table([heading, *failed], words=words) if 0 < len(failed) < len(rows) else ""
    table = html.collapsible(
        f"{told}; {format.duration(spent)} in all",
        html.table([heading, *rows], words=words),
        len(rows),
    )
    return _versions(study) + first + table


def _versions(study: _Study) -> str:
    versions = study.summary.get("versions") or []
    made = Counter(format.value(cell.get("version")) for cell in study.cells)
    rows = [["version", "started", "code", "config", "cells"]]
    rows += [[format.value(version.get(column)) for column in rows[0][:4]] for version in versions]
    for row in rows[1:]:
        row.append(f"{made[row[0]]:,}")
    return html.table(rows, words=range(4)) if len(versions) > 1 else ""


def _data(study: _Study) -> str:
    about = {name: study.about[name] for name in (*KNOWN, *study.about) if name in study.about}
    about |= {"classes": study.classes} if study.classes else {}
    about.pop("command", None)
    shared = leaks(about.pop("leaks", None))
    rows = [[name, format.value(value)] for name, value in about.items()]
    return (html.table([["", ""], *rows], words=(0, 1)) if rows else "") + shared


def _repeat(study: _Study) -> str:
    command, runs = study.about.get("command"), study.summary.get("runs") or []
    told = f"<pre><code>{html.escape_html(command)}</code></pre>" if command else ""
    listed = html.bullet_list((f"<code>{html.escape_html(run)}</code>" for run in runs), len(runs))
    return told + (html.collapsible(format.pluralise(len(runs), "run"), listed) if runs else "")


SECTIONS: tuple[tuple[str, str, Callable[[_Study], str]], ...] = (
    ("main", "Main score", _forest),
    ("scores", "All scores", _scores),
    ("comparisons", "Comparisons", _comparisons),
    ("gaps", "Over-fitting", _gaps),
    ("embeddings", "Why does deep fusion win or lose?", _embeddings),
    ("curves", "Learning curves", _curves),
    ("subsets", "Subsets of modalities", _subsets),
    ("confusion", "Confusion", _confusions),
    ("classes", "Classes", _classes),
    ("calibration", "Calibration", _calibration),
    ("speakers", "Speakers", _speakers),
    ("errors", "Worst errors", _errors),
    ("votes", "What the votes said", _log_excerpt),
    ("data", "Data and leaks", _data),
    ("cells", "Cells", _cells),
    ("repeat", "Repeat it", _repeat),
)


# --- values in words ------------------------------------------------------------------------------


def _ends(one: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return as_finite(one.get("low")), as_finite(one.get("high"))


def _error(one: Mapping[str, Any]) -> float | None:
    corrected = as_finite(one.get("p_corrected"))
    return as_finite(one.get("p")) if corrected is None else corrected
