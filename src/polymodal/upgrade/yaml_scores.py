"""Names of scores that change with their class, followed into monitors and names of checkpoints."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polymodal.upgrade.arguments import apply, rewrite_arguments
from polymodal.upgrade.changes import Change, Facts
from polymodal.upgrade.rules import GROUPS
from polymodal.upgrade.yaml_arguments import Step
from polymodal.upgrade.yaml_sections import Section, arguments, class_of, sections
from polymodal.upgrade.yaml_text import (
    Document,
    below,
    entries,
    entry,
    is_mapping,
    is_scalar,
    is_sequence,
    plain,
    shown,
)

RULE = "score-names"
WATCHING = re.compile(r"(^|_)(monitor|metric|metric_for_best_model)$")
TASKS: Mapping[str, str] = {
    "binary": "Binary",
    "multiclass": "Multiclass",
    "multilabel": "Multilabel",
}


def gather_scores(document: Document, facts: Facts) -> None:
    """Notes which scores get another name, as a collection names them by their class.

    Args:
        document: The document.
        facts: Is added to.
    """
    for section in sections(document, Path()):
        if section.target != "torchmetrics.MetricCollection" or section.options is None:
            continue
        metrics = entry(section.options, "metrics")
        if metrics is None or not is_sequence(metrics.value):
            continue
        before, behind = (_text(section.options, one) for one in ("prefix", "postfix"))
        for item in metrics.value.value:
            for old, new in _renamed(document, item):
                facts.renamed_scores[before + old + behind] = before + new + behind


def score_steps(document: Document, facts: Facts) -> Iterator[Step]:
    """Follows renamed scores.

    Args:
        document: The document.
        facts: What the tree's files know of one another.

    Yields:
        A change for each place that names one of them.
    """
    if not facts.renamed_scores:
        return
    for root in document.roots:
        for _, node in below(root):
            for one in entries(node):
                if is_scalar(one.value) and one.value.value:
                    old = document.raw(one)
                    new = _followed(one.name, old, str(one.value.value), facts.renamed_scores)
                    if new != old:
                        start, end = document.span(one)
                        line = document.line(start)
                        change = Change(RULE, line, shown(old), shown(new))
                        yield Step(((start, end, new),), (change,))


def _renamed(document: Document, item: Any) -> Iterator[tuple[str, str]]:
    """Old and new name of a score that gets a task; none where it has one already."""
    target = class_of(item)
    new = target.rpartition(".")[2]
    if not is_mapping(item) or not target.startswith("torchmetrics."):
        return
    named = entry(item, "_target_") or entry(item, "class_path")
    old = str(named.value.value).rpartition(".")[2] if named else new
    given = entry(item, "init_args") if entry(item, "class_path") else None
    section = Section(target, given.value if given else item, "", named, ())
    options = arguments(document, section)
    if new in GROUPS["classification"]:
        if "task" in options:
            return
        task = apply(options, rewrite_arguments(target, options)).get("task")
        if not isinstance(task, str):
            return
        new = TASKS[task] + new
    if old != new:
        yield old, new


def _text(options: Any, name: str) -> str:
    found = entry(options, name)
    value = plain(found.value) if found else None
    return value if isinstance(value, str) else ""


def _followed(key: str, raw: str, value: str, names: Mapping[str, str]) -> str:
    """A value in which renamed scores have their new names."""
    if WATCHING.search(key) and value in names:
        return raw.replace(value, names[value])
    if key == "filename":
        for old, new in sorted(names.items(), key=lambda one: -len(one[0])):
            word = re.escape(old)
            raw = re.sub(rf"(?<=\{{){word}(?=[:!}}])|(?<![\w/]){word}(?==)", new, raw)
    return raw
