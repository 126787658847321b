"""Write a study as one HTML page without other files, scripts or network.

First the answer: which way of combining is better, by how much, and whether that is significant.
Then the details, each section only if the summary has it.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from polymodal.errors import RunError
from polymodal.report import charts, format
from polymodal.report.blocks import (
    Block,
    BulletList,
    Cell,
    Code,
    Content,
    Details,
    Figure,
    Grid,
    Heatmap,
    Link,
    Listing,
    Mark,
    Notice,
    Phrase,
    Table,
    Verdict,
    confusion_heatmap,
    document,
    key_value_table,
    normalise,
    paragraph,
)
from polymodal.report.format import MINUS, NONE, Bold, as_finite, format_p, format_score, interval
from polymodal.report.sections import CONFUSION_NOTE, ExampleLoader, errors, leaks, no_examples
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
MAX_OPEN_MATRICES, MAX_OPEN_CURVES = 6, 2  # side by side; further ones are closed at first
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
        summary: The content of `study.json`: `study`, `name`, `status`, `members` and more.
        folder: The study's folder; created if missing.
        heard: Reads utterances by id.
        figures: Folder for the pictures as SVG and PDF; None for none.

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
    """Return the page."""
    study = _Study(summary, heard)
    sections = [(name, title, section(study)) for name, title, section in SECTIONS]
    about = f"{summary['study']}, {summary['status']}"
    head = [_headline(study), *_notes(study)]
    return document(f"Study: {summary['name']}", about, head, sections)


class _Study:
    """A summary with defaults for what is missing, and its members from best to worst."""

    def __init__(self, summary: Summary, heard: ExampleLoader) -> None:
        self.summary, self.members, self.heard = summary, members(summary), heard
        self.about: Mapping[str, Any] = summary.get("about") or {}
        self.cells: Sequence[Mapping[str, Any]] = summary.get("cells") or []
        self.classes = [str(name) for name in summary.get("classes") or []]
        keys, main = score_keys(summary), tail(str(summary.get("score") or ""))
        #: The main score as members name it; None where none of them has it.
        self.key = keys[0] if keys and main in ("", tail(keys[0])) else None
        self.score = tail(self.key or main or "score")
        self.lower = lower_is_better(self.score, summary)
        self.names = ranked(summary, self.key)
        self.compared: Sequence[Mapping[str, Any]] = summary.get("comparisons") or []
        #: The comparisons of the main score.
        self.duels = [
            duel
            for duel in self.compared
            if tail(str(duel.get("score") or self.score)) == self.score
            and {duel.get("a"), duel.get("b")} <= {*self.names}
        ]

    def with_section(self, section: str) -> dict[str, Any]:
        """Return the members that have a section, from best to worst."""
        return {name: value for name in self.names if (value := self.members[name].get(section))}

    def describe(self, name: str) -> str:
        return f"{name}, {self.score} {interval(score_of(self.members[name], self.key))}"

    def is_significant(self, comparison: Mapping[str, Any]) -> bool:
        """Return whether a difference is claimed: p is small and the interval leaves 0 out."""
        error, alpha = _error(comparison), as_finite(self.about.get("alpha")) or ALPHA
        low, high = as_finite(comparison.get("low")), as_finite(comparison.get("high"))
        inside = low is not None and high is not None and low <= 0 <= high
        return error is not None and error < alpha and not inside


# --- the answer -----------------------------------------------------------------------------------


def _headline(study: _Study) -> Block:
    """Compare the best member with the best vote, or the best two if there is only one kind."""
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
            for kind, names in sorted(kinds.items(), key=lambda item: rivals[0] not in item[1])
            if names
        ]
        lines += _unproven(study, rivals[0])
    label = "" if not lines else "Best member against best vote" if both else "The best two"
    return Verdict(colour, headline, " ".join(lines), label)


def _pairwise_comparison(study: _Study, first: str, second: str) -> tuple[str, str]:
    """Return colour and sentence about two names, the better mean first."""
    for duel in study.duels:
        if {duel["a"], duel["b"]} == {first, second}:
            claimed = study.is_significant(duel)
            default = f"{first} is better than {second}"
            default = default if claimed else "no difference can be claimed"
            message = str(duel.get("verdict") or default).rstrip(".") + "."
            if not message.startswith((first, second)):  # names keep their spelling
                message = message[:1].upper() + message[1:]
            return "good" if claimed else "fair", message
    return "fair", (
        f"{first} has the better {study.score} than {second}, but the two were not compared: no "
        "difference can be claimed."
    )


def _unproven(study: _Study, best: str) -> list[str]:
    """Name those that the best is not proven to beat."""
    pairs = [(duel["a"], duel["b"]) for duel in study.duels if not study.is_significant(duel)]
    tied = {name for pair in pairs if best in pair for name in pair if name != best}
    listed = format.join_names(sorted(tied, key=study.names.index))
    return [f"Not proven to be worse than {best}: {listed}."] if tied else []


def _notes(study: _Study) -> list[Block]:
    """List why the page is not the whole study, and the warnings."""
    status, lines = study.summary["status"], []
    if status != "finished":
        done = sum(cell.get("status") == "finished" for cell in study.cells)
        of = f", {done} of {format.pluralise(len(study.cells), 'cell')} finished"
        progress = of if study.cells else ""
        lines.append(f"The study is {status}{progress}: every figure is of what is there.")
    lines += _mixed_versions(study.cells)
    counts = Counter(map(str, study.summary.get("warnings") or []))
    lines += [text if times == 1 else f"{text} ({times} times)" for text, times in counts.items()]
    return [Notice("Worth knowing", BulletList(lines, format.MAX_NAMED))] if lines else []


def _mixed_versions(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """List which members have jobs of which version, if there are several."""
    versions: dict[str, Counter[str]] = {}
    for cell in cells:
        if cell.get("version") is not None:
            versions.setdefault(str(cell.get("member")), Counter())[str(cell["version"])] += 1
    if len({version for counts in versions.values() for version in counts}) < 2:
        return []
    groups: dict[str, list[str]] = {}
    for name, counts in versions.items():
        several = " and ".join(f"{num} of version {key}" for key, num in sorted(counts.items()))
        text = several if len(counts) > 1 else f"all of version {next(iter(counts))}"
        groups.setdefault(text, []).append(name)
    listed = "; ".join(f"{format.join_names(names)}: {text}" for text, names in groups.items())
    return [f"The study was changed between its cells. {listed}."]


# --- what it rests on -----------------------------------------------------------------------------


def _forest(study: _Study) -> list[Block]:
    estimates = [
        charts.Estimate(name, mean, *_ends(score), kind_of(study.members[name]))
        for name in study.names
        for score in [score_of(study.members[name], study.key)]
        if (mean := as_finite(score.get("mean"))) is not None
    ]
    if study.key is None or not estimates:
        return []
    chance_level = 1 / len(study.classes) if study.classes and study.score == "uar" else None
    drawn = {estimate.name for estimate in estimates}
    left_out = [name for name in study.names if name not in drawn]
    better = "smaller" if study.lower else "larger"
    note = f"Mean and 95 % interval, the best on top; {better} is better."
    note += f" Without this score: {', '.join(left_out)}." if left_out else ""
    return [Figure(charts.forest_plot(estimates, study.key, chance_level=chance_level), note)]


def _scores(study: _Study) -> list[Block]:
    keys = score_keys(study.summary)
    if not keys:
        return []
    rows = score_table(study.summary, study.names)
    rows[0].append("n")
    for row in rows[1:]:
        row.append(format.value(score_of(study.members[row[0]], keys[0]).get("n")))
    note = (
        "Mean [95 % interval]; the best mean of a column is bold, ↑ larger and ↓ smaller is "
        "better, n counts what was scored. Files: "
    )
    files = (*_files("scores"), " and ", *_files("comparisons"), ".")
    return [paragraph(note, *files), Table(rows, (0, 1))]


def _files(name: str) -> list[Content]:
    csv, markdown, latex = (
        Link(label, f"tables/{name}.{end}")
        for label, end in (("CSV", "csv"), ("Markdown", "md"), ("LaTeX", "tex"))
    )
    return [f"{name} as ", csv, ", ", markdown, ", ", latex]


def _comparisons(study: _Study) -> list[Block]:
    if not study.compared:
        return []
    rows = comparison_table(study.summary)
    rows[0].insert(6, "over")
    for row, comparison in zip(rows[1:], study.compared, strict=True):
        num_units, unit = as_finite(comparison.get("num_units")), comparison.get("unit") or "unit"
        row.insert(6, NONE if num_units is None else format.pluralise(int(num_units), str(unit)))
        row[3] = Bold(row[3]) if study.is_significant(comparison) else row[3]
    heading = format.pluralise(len(study.compared), "comparison")
    return [*_matrix(study), Details(heading, [Table(rows, (0, 1, 2, 7))], len(rows))]


def _matrix(study: _Study) -> list[Block]:
    """Show row minus column of the main score, from best to worst."""
    pairs: dict[tuple[str, str], tuple[float, Mapping[str, Any]]] = {}
    for duel in study.duels:
        if (difference := as_finite(duel.get("difference"))) is not None:
            pairs[duel["a"], duel["b"]] = difference, duel
            pairs[duel["b"], duel["a"]] = -difference, duel
    names = [name for name in study.names if any(name in pair for pair in pairs)]
    if not 3 <= len(names) <= MAX_COMPARED:
        return []

    def cell(row: str, column: str) -> Cell:
        if (row, column) not in pairs:
            return Cell(Mark("·" if row == column else "", "faint"))
        difference, duel = pairs[row, column]
        shown = Mark(format_score(difference, signed=True), "faint")
        if study.is_significant(duel):
            kind, sign = ("good", "▲") if (difference > 0) != study.lower else ("bad", "▼")
            shown = Mark(f"{sign} {shown.text}", kind)
        return Cell(shown, format_p(_error(duel)))

    note = f"{study.score} of the row {MINUS} {study.score} of the column, below it the corrected "
    note += "p. ▲ the row is better, ▼ it is worse; without a mark no difference can be claimed."
    rows = {row: [cell(row, column) for column in names] for row in names}
    return [paragraph(note), Heatmap("", names, rows)]


def _gaps(study: _Study) -> list[Block]:
    gaps, scores = [], set()
    for name, gap in study.with_section("gap").items():
        train, tested = as_finite(gap.get("train")), as_finite(gap.get("other"))
        scores.add(str(gap.get("score") or study.score))
        if train is not None and tested is not None:
            against = str(gap.get("against") or "val")
            gaps.append(charts.TrainTestGap(name, train, tested, against))
    if not gaps:
        return []
    gaps.sort(key=lambda gap: -abs(gap.train - gap.tested))
    note = "How much of what was learnt does not carry over; the largest gap on top."
    return [Figure(charts.dumbbell_plot(gaps, ", ".join(sorted(scores))), note)]


def _embeddings(study: _Study) -> list[Block]:
    ordered = {name: study.members[name] for name in study.names}
    return fusion_section(ordered, study.classes, "gaps")


def _curves(study: _Study) -> list[Block]:
    curves = {name: _points(curve) for name, curve in study.with_section("curve").items()}
    lines = [(name, points) for name, points in curves.items() if len(points) > 1]
    if not lines:
        return []
    size = len(charts.COLOURS)
    # Limits of all curves, so that pictures can be compared.
    limits = charts.axis_limits([estimate for _, points in lines for _, estimate in points])
    pictures = [
        charts.curves(dict(lines[start : start + size]), study.score, limits)
        for start in range(0, len(lines), size)
    ]
    figures = [Figure(picture, kind="narrow") for picture in pictures]
    note = paragraph("Mean and 95 % interval; a curve that still rises asks for more data.")
    return [note, Grid(figures, MAX_OPEN_CURVES, "grid two")]


def _points(curve: Sequence[Mapping[str, Any]]) -> list[tuple[float, charts.Estimate]]:
    points = []
    for score in curve:
        fraction, mean = as_finite(score.get("share")), as_finite(score.get("mean"))
        if fraction is not None and fraction > 0 and mean is not None:
            points.append((fraction, charts.Estimate("", mean, *_ends(score))))
    return sorted(points, key=lambda point: point[0])


def _subsets(study: _Study) -> list[Block]:
    members = study.with_section("subsets")
    subsets = {subset: subset.split("+") for scores in members.values() for subset in scores}
    if not subsets:
        return []
    modalities = list(dict.fromkeys(name for names in subsets.values() for name in names))
    initials = {name: name[:1].upper() for name in modalities}
    brief = len({*initials.values()}) == len(modalities)
    order = sorted(
        subsets, key=lambda key: (len(subsets[key]), [*map(modalities.index, subsets[key])])
    )
    scores = {
        subset: [score_of({"scores": by.get(subset)}, study.key) for by in members.values()]
        for subset in order
    }
    shade = normalise(score.get("mean") for row in scores.values() for score in row)
    rows = {}
    for subset, row in scores.items():
        names = subsets[subset]
        label = "".join(initials[name] for name in names) if brief else " + ".join(names)
        rows[label] = [Cell(interval(score), fraction=shade(score.get("mean"))) for score in row]
    legend = f": {', '.join(f'{initials[name]} {name}' for name in modalities)}" if brief else ""
    note = f"{study.score} of each member when it gets these modalities only{legend}."
    return [paragraph(note), Heatmap("", [*members], rows, upright=False)]


def _confusions(study: _Study) -> list[Block]:
    matrices = study.with_section("confusion")
    if not matrices:
        return []
    blocks = [_confusion(study, name, matrix) for name, matrix in matrices.items()]
    return [paragraph(CONFUSION_NOTE), Grid(blocks, MAX_OPEN_MATRICES)]


def _confusion(study: _Study, name: str, matrix: Sequence[Sequence[object]]) -> Block:
    counts = [[as_finite(cell) or 0.0 for cell in row] for row in matrix]
    labels = study.classes
    if len(labels) != len(counts):
        labels = [f"class {index}" for index in range(len(counts))]
    return confusion_heatmap(labels, counts, name)


def _speakers(study: _Study) -> list[Block]:
    by_member: dict[str, dict[str, float]] = {}
    by_speaker: dict[str, list[float]] = {}
    for name, values in study.with_section("per_speaker").items():
        for speaker, value in values.items():
            if (accuracy := as_finite(value)) is not None:
                by_member.setdefault(name, {})[speaker] = accuracy
                by_speaker.setdefault(speaker, []).append(accuracy)
    if not by_member:
        return []
    means = {name: sum(values) / len(values) for name, values in by_speaker.items()}
    hardest = sorted(means, key=lambda name: (means[name], name))
    shade = normalise(accuracy for values in by_speaker.values() for accuracy in values)
    rows = {
        speaker: [
            Cell(format_score(scores.get(speaker)), fraction=shade(scores.get(speaker)))
            for scores in by_member.values()
        ]
        for speaker in hardest[:MAX_SPEAKERS]
    }
    points = {name: sorted(scores.values()) for name, scores in by_member.items()}
    note = f"The hardest for all together: {', '.join(hardest[:3])}." if len(hardest) > 3 else ""
    shown = f", {MAX_SPEAKERS} shown" if len(hardest) > MAX_SPEAKERS else ""
    heading = f"{format.pluralise(len(hardest), 'speaker')}, the hardest first{shown}"
    return [
        Figure(charts.strip_plot(points, "accuracy"), note),
        Details(heading, [Heatmap("speaker", [*by_member], rows)]),
    ]


def _classes(study: _Study) -> list[Block]:
    rows = class_table(study.summary)
    if len(rows) == 1:
        return []
    note = "Recall of each class: the share of its utterances that was recognised."
    return [paragraph(note), Table(rows, (0,))]


def _calibration(study: _Study) -> list[Block]:
    figures = []
    for name, bins in study.with_section("reliability").items():
        points = [
            (confidence, accuracy, int(num))
            for confidence, accuracy, num in (map(as_finite, row) for row in bins)
            if confidence is not None and accuracy is not None and num
        ]
        if points:
            figures.append(Figure(charts.reliability(points, name), name, kind="narrow"))
    note = paragraph("Below the dotted line the confidence of a member exceeds its accuracy.")
    return [note, Grid(figures, MAX_OPEN_CURVES, "grid two")] if figures else []


def _errors(study: _Study) -> list[Block]:
    """Show the errors of the best member only: a list per member would be long."""
    for name, rows in study.with_section("errors").items():
        note = paragraph(f"The most confident errors of {name}, the best:")
        return [note, errors(rows, study.heard)]
    return []


def _log_excerpt(study: _Study) -> list[Block]:
    total = int(as_finite(study.about.get("folds")) or 0) * len(study.about.get("seeds") or [0])
    rows: list[list[Content]] = [["vote", "of", "ensemble", "messages"]]
    for name, member in study.members.items():
        if kind_of(member) == "vote":
            messages = BulletList(_group_identical(member.get("said") or [], total), MAX_LOG_LINES)
            values = [format.value(member.get(key)) for key in ("of", "ensemble")]
            rows.append([name, *values, messages])
    return [Table(rows, range(4))] if len(rows) > 1 else []


def _group_identical(messages: Sequence[object], total: int) -> list[Content]:
    """Show identical messages once, with their folds."""
    groups: dict[str, list[str]] = {}
    for message in map(str, messages):
        match = WHERE.fullmatch(message)
        fold, text = (match[1].strip(" ,:"), match[2]) if match else ("", message)
        groups.setdefault(text, []).append(fold)
    lines: list[Content] = []
    for text, folds in sorted(groups.items(), key=lambda item: -len(item[1])):
        times = len(folds)
        head = f"{times} times: " if times > 1 else ""
        if any(folds):
            head = f"in {times} of {total} folds: " if times <= total else f"in {times} folds: "
        where = f" ({'; '.join(folds)})" if any(folds) and times < min(total, 4) else ""
        lines.append(Phrase([head, text, Mark(where, "side")]))
    return lines


def _cells(study: _Study) -> list[Block]:
    if not study.cells:
        return []
    columns = ("member", "status", "seed", "share", "version", "reused")
    rows = [
        [
            *(format.value(cell.get(column)) for column in columns),
            format.duration(cell.get("duration_s")),
            format.value(cell.get("run")),
        ]
        for cell in study.cells
    ]
    new = [cell for cell in study.cells if not cell.get("reused")]
    spent = sum(as_finite(cell.get("duration_s")) or 0.0 for cell in new)
    states = Counter(row[1] for row in rows)
    summary = ", ".join(f"{times} {status}" for status, times in states.items())
    summary = f"{format.pluralise(len(rows), 'cell')}: {summary}; {len(rows) - len(new)} reused"
    heading, text_columns = [*columns, "time", "run"], (0, 1, 7)
    failed = [row for row in rows if row[1] != "finished"]
    first = [Table([heading, *failed], text_columns)] if 0 < len(failed) < len(rows) else []
    table = Table([heading, *rows], text_columns)
    details = Details(f"{summary}; {format.duration(spent)} in all", [table], len(rows))
    return [*_versions(study), *first, details]


def _versions(study: _Study) -> list[Block]:
    versions = study.summary.get("versions") or []
    num_cells = Counter(format.value(cell.get("version")) for cell in study.cells)
    heading = ["version", "started", "code", "config"]
    rows = [[format.value(version.get(column)) for column in heading] for version in versions]
    rows = [[*row, f"{num_cells[row[0]]:,}"] for row in rows]
    return [Table([[*heading, "cells"], *rows], range(4))] if len(versions) > 1 else []


def _data(study: _Study) -> list[Block]:
    about = {name: study.about[name] for name in (*KNOWN, *study.about) if name in study.about}
    about |= {"classes": study.classes} if study.classes else {}
    about.pop("command", None)
    shared = leaks(about.pop("leaks", None))
    rows = [[name, format.value(value)] for name, value in about.items()]
    return [key_value_table(rows), *shared] if rows else shared


def _repeat(study: _Study) -> list[Block]:
    command, runs = study.about.get("command"), study.summary.get("runs") or []
    listed = BulletList([*map(Code, runs)], len(runs))
    details: list[Block] = [Details(format.pluralise(len(runs), "run"), [listed])] if runs else []
    return [Listing(str(command)), *details] if command else details


SECTIONS: tuple[tuple[str, str, Callable[[_Study], list[Block]]], ...] = (
    ("main", "Main score", _forest),
    ("scores", "All scores", _scores),
    ("comparisons", "Comparisons", _comparisons),
    ("gaps", "Generalisation gap", _gaps),
    ("embeddings", "Why does deep fusion win or lose?", _embeddings),
    ("curves", "Learning curves", _curves),
    ("subsets", "Subsets of modalities", _subsets),
    ("confusion", "Confusion", _confusions),
    ("classes", "Classes", _classes),
    ("calibration", "Calibration", _calibration),
    ("speakers", "Speakers", _speakers),
    ("errors", "Most confident errors", _errors),
    ("votes", "What the votes said", _log_excerpt),
    ("data", "Data and leaks", _data),
    ("cells", "Cells", _cells),
    ("repeat", "Repeat it", _repeat),
)


# --- numbers --------------------------------------------------------------------------------------


def _ends(score: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return as_finite(score.get("low")), as_finite(score.get("high"))


def _error(comparison: Mapping[str, Any]) -> float | None:
    corrected = as_finite(comparison.get("p_corrected"))
    return as_finite(comparison.get("p")) if corrected is None else corrected
