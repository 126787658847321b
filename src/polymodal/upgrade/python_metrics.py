"""Scores that are logged under the name of a class that was renamed."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.arguments import TASKS, inferred_task
from polymodal.upgrade.names import canonical
from polymodal.upgrade.python_calls import target_of, value_of
from polymodal.upgrade.python_source import Source, argument, dotted, keyword_of
from polymodal.upgrade.rules import GROUPS, rule_by_id

COLLECTION = "torchmetrics.MetricCollection"
# Possible stages, where a prefix is known only at run time.
STAGES = ("train", "val", "valid", "validation", "test")
OWNER = m.Attribute(attr=m.Name("__class__")) | m.Call(func=m.Name("type"))
CLASS_NAME = m.Attribute(value=OWNER, attr=m.Name("__name__"))
# Attributes whose keys are names of scores.
READS = ("callback_metrics", "logged_metrics", "progress_bar_metrics")


def gather_scores(source: Source) -> None:
    """Add scores whose names change with their classes to the facts."""
    calls = [call for call in m.findall(source.module, m.Call()) if isinstance(call, cst.Call)]
    classes = dict(pair for call in calls if (pair := _renamed_class(source, call)) is not None)
    if not classes:
        return
    renames: dict[str, str] = {}
    cloning = m.Attribute(attr=m.Name("clone"))
    copies = [call for call in calls if m.matches(call.func, cloning) and call.args]
    clones = [affix for call in copies for affix in _affixes(call)]
    for call in calls:
        if target_of(source, call) == COLLECTION:
            members = dict(_members(source, call))
            affixes = _affixes(call)
            loops = _loops(source) if affixes == [("", "")] else ()
            for before, after in clones or [*affixes, *loops]:
                renames.update({before + a + after: before + b + after for a, b in members.items()})
    for before, after in _affixes_of_names(source):
        renames.update({before + a + after: before + b + after for a, b in classes.items()})
    written = _logged_by_name(calls)
    source.facts.renamed_scores.update({a: b for a, b in renames.items() if a not in written})


def _renamed_class(source: Source, call: cst.Call) -> tuple[str, str] | None:
    name = canonical(source.qualified(call.func))
    target = target_of(source, call)
    if not target.startswith("torchmetrics.") or ".functional." in target:
        return None
    old, new = name.rpartition(".")[2], target.rpartition(".")[2]
    if new not in GROUPS["classification"]:
        return (old, new) if old != new and "Corr" in new else None
    values = {keyword_of(arg): value_of(source, arg.value) for arg in call.args if arg.keyword}
    if "task" in values:
        return None
    if call.args and call.args[0].keyword is None and new not in ("Accuracy", "HammingDistance"):
        values["num_classes"] = value_of(source, call.args[0].value)
    if (task := inferred_task(target, values)) is not None:
        return old, TASKS[task] + new
    return (old, new) if old != new else None


def _members(source: Source, call: cst.Call) -> Iterator[tuple[str, str]]:
    for value in (arg.value for arg in call.args if arg.keyword is None):
        elements = value.elements if isinstance(value, cst.List | cst.Tuple) else ()
        for item in [element.value for element in elements] or [value]:
            calls = source.assigned_calls(item) if isinstance(item, cst.Name) else [item]
            for constructor in calls:
                if not isinstance(constructor, cst.Call):
                    continue
                if (pair := _renamed_class(source, constructor)) is not None:
                    yield pair


def _affixes(call: cst.Call) -> list[tuple[str, str]]:
    """Return the possible prefixes and suffixes of a collection."""
    before, after = argument(call, "prefix"), argument(call, "postfix")
    return [*itertools.product(_texts(before), _texts(after))]


def _texts(arg: cst.Arg | None) -> list[str]:
    """Return the possible values of a string."""
    if arg is not None and isinstance(arg.value, cst.SimpleString):
        return [str(arg.value.evaluated_value)]
    if arg is not None and isinstance(arg.value, cst.FormattedString):
        return [*_spelt(arg.value.parts)]
    return [""]


def _spelt(contents: Sequence[cst.BaseFormattedStringContent]) -> Iterator[str]:
    """Spell out a formatted string; an expression in it may be a stage."""
    choices = [
        (content.value,) if isinstance(content, cst.FormattedStringText) else STAGES
        for content in contents
    ]
    if sum(isinstance(content, cst.FormattedStringExpression) for content in contents) <= 1:
        yield from map("".join, itertools.product(*choices))


def _affixes_of_names(source: Source) -> Iterator[tuple[str, str]]:
    """Yield what surrounds the name of a class in composed names."""
    for string in m.findall(source.module, m.FormattedString()):
        assert isinstance(string, cst.FormattedString)
        for index, content in enumerate(string.parts):
            if m.matches(content, m.FormattedStringExpression(expression=CLASS_NAME)):
                before, after = _spelt(string.parts[:index]), _spelt(string.parts[index + 1 :])
                yield from itertools.product(before, after)
    added = m.BinaryOperation(left=m.SimpleString(), operator=m.Add(), right=CLASS_NAME)
    for operation in m.findall(source.module, added):
        assert isinstance(operation, cst.BinaryOperation)
        assert isinstance(operation.left, cst.SimpleString)
        yield str(operation.left.evaluated_value), ""


def _loops(source: Source) -> Iterator[tuple[str, str]]:
    """Yield the prefixes of a collection's keys in a loop that logs them."""
    for string in m.findall(source.module, m.FormattedString()):
        assert isinstance(string, cst.FormattedString)
        match string.parts:
            case [cst.FormattedStringText(value=before), cst.FormattedStringExpression() as last]:
                if before.endswith(("_", "/")) and isinstance(last.expression, cst.Name):
                    yield before, ""


def _logged_by_name(calls: Sequence[cst.Call]) -> set[str]:
    """Return the scores that are logged by a literal name."""
    logged: set[str] = set()
    for call in calls:
        func = dotted(call.func)
        if func.endswith((".log", ".log_dict")) and call.args:
            strings = m.findall(call.args[0], m.SimpleString())
            logged |= {str(s.evaluated_value) for s in strings if isinstance(s, cst.SimpleString)}
    return logged


def rename_score(source: Source, old: cst.SimpleString, new: cst.SimpleString) -> cst.SimpleString:
    """Rewrite a string that is the name of a score, or holds one in braces."""
    scores = source.facts.renamed_scores
    value = old.evaluated_value
    if not scores or not isinstance(value, str):
        return new
    raw = old.raw_value
    if value in scores and raw == value and _is_score(source, old, scores):
        written = scores[value]
    else:
        written = rename_in_braces(raw, scores)
        if written == raw:
            return new
    source.note_rule(rule_by_id("score-names"), old, raw, written)
    return new.with_changes(value=old.prefix + old.quote + written + old.quote)


def rename_in_braces(text: str, scores: Mapping[str, str]) -> str:
    """Rename scores in the template of a checkpoint's name.

    Example:
        >>> rename_in_braces("{epoch}-{val_F1:.2f}", {"val_F1": "val_MulticlassF1Score"})
        '{epoch}-{val_MulticlassF1Score:.2f}'
    """
    return re.sub(r"(?<=\{)[^{}:!]+(?=[:!}])", lambda match: scores.get(match[0], match[0]), text)


def _is_score(source: Source, node: cst.SimpleString, scores: Mapping[str, str]) -> bool:
    """Return whether a string is a score, by its position if it could be a class, too."""
    value = str(node.evaluated_value)
    if value != value.replace("_", "").replace("/", ""):
        return True
    parent = source.parent(node)
    if isinstance(parent, cst.Arg):
        call = source.parent(parent)
        word = parent.keyword.value if parent.keyword is not None else ""
        called = dotted(call.func) if isinstance(call, cst.Call) else ""
        is_read = any(f"{attribute}.get" in called for attribute in READS)
        return word == "monitor" or called.endswith("EarlyStopping") or is_read
    if isinstance(parent, cst.DictElement):
        return m.matches(parent.key, m.SimpleString()) and "monitor" in source.code(parent.key)
    if isinstance(parent, cst.Index):
        element = source.parent(parent)
        container = source.parent(element) if element is not None else None
        return isinstance(container, cst.Subscript) and dotted(container.value).endswith(READS)
    return False
