"""Scores whose names change with their class, in monitors and names of checkpoints."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from polymodal.upgrade.arguments import TASKS, inferred_task
from polymodal.upgrade.changes import ProjectFacts
from polymodal.upgrade.rules import GROUPS
from polymodal.upgrade.yaml_arguments import Step, step
from polymodal.upgrade.yaml_sections import Section, arguments, class_of, sections
from polymodal.upgrade.yaml_text import Document, entries, entry, shorten, to_plain

RULE = "score-names"
WATCHING = re.compile(r"(^|_)(monitor|metric|metric_for_best_model)$")


def gather_scores(document: Document, facts: ProjectFacts) -> None:
    """Add scores that a collection names by their class to the facts."""
    for section in sections(document, Path()):
        if section.target != "torchmetrics.MetricCollection" or section.options is None:
            continue
        metrics = entry(section.options, "metrics")
        if metrics is None or not isinstance(metrics.value, SequenceNode):
            continue
        before, behind = (_text(section.options, name) for name in ("prefix", "postfix"))
        for item in metrics.value.value:
            for old, new in _renamed(document, item):
                facts.renamed_scores[before + old + behind] = before + new + behind


def score_steps(document: Document, facts: ProjectFacts) -> Iterator[Step]:
    """Yield changes of renamed scores."""
    if not facts.renamed_scores:
        return
    for _, node in document.nodes():
        for item in entries(node):
            if isinstance(item.value, ScalarNode) and item.value.value:
                old, (start, end) = document.raw(item), document.span(item)
                new = _followed(item.name, old, str(item.value.value), facts.renamed_scores)
                if new != old:
                    edit = (start, end, new)
                    yield step(RULE, document.line(start), shorten(old), shorten(new), edit)


def _renamed(document: Document, item: Any) -> Iterator[tuple[str, str]]:
    """Yield the old and new name of a score that gets a task."""
    target = class_of(item)
    new = target.rpartition(".")[2]
    if not isinstance(item, MappingNode) or not target.startswith("torchmetrics."):
        return
    named = entry(item, "_target_") or entry(item, "class_path")
    old = str(named.value.value).rpartition(".")[2] if named else new
    given = entry(item, "init_args") if entry(item, "class_path") else None
    section = Section(target, given.value if given else item, "", named, ())
    options = arguments(document, section)
    if new in GROUPS["classification"]:
        task = inferred_task(target, options)
        if task is None:
            return
        new = TASKS[task] + new
    if old != new:
        yield old, new


def _text(options: Any, name: str) -> str:
    given = entry(options, name)
    value = to_plain(given.value) if given else None
    return value if isinstance(value, str) else ""


def _followed(key: str, raw: str, value: str, names: Mapping[str, str]) -> str:
    """Return a value with renamed scores replaced."""
    if WATCHING.search(key) and value in names:
        return raw.replace(value, names[value])
    if key == "filename":
        for old, new in sorted(names.items(), key=lambda pair: -len(pair[0])):
            word = re.escape(old)
            raw = re.sub(rf"(?<=\{{){word}(?=[:!}}])|(?<![\w/]){word}(?==)", new, raw)
    return raw
