"""Scores that are logged under the name of their class, and are called otherwise now."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.arguments import rewrite_arguments
from polymodal.upgrade.python_calls import target_of, value_of
from polymodal.upgrade.python_names import canonical
from polymodal.upgrade.python_source import Source, argument, dotted, rule_of, why
from polymodal.upgrade.rules import GROUPS

COLLECTION = "torchmetrics.MetricCollection"
FORMS = {"binary": "Binary", "multiclass": "Multiclass", "multilabel": "Multilabel"}
# What a stage may be called where a prefix holds one that only the run knows.
STAGES = ("train", "val", "valid", "validation", "test")
CLASS_NAME = m.Attribute(attr=m.Name("__name__"))
# Where a string is the name of a score, whatever it is.
READS = ("callback_metrics", "logged_metrics", "progress_bar_metrics")


def gather_scores(source: Source) -> None:
    """Finds scores whose names change with their classes, and keeps them in the facts.

    Args:
        source: The file.
    """
    calls = [one for one in m.findall(source.module, m.Call()) if isinstance(one, cst.Call)]
    classes = dict(pair for call in calls if (pair := _renamed_class(source, call)) is not None)
    if not classes:
        return
    found: dict[str, str] = {}
    clones = [*_affixes_of_clones(calls)]
    for call in calls:
        if target_of(source, call) == COLLECTION:
            members = dict(_members(source, call))
            own = _affixes(call)
            for before, after in clones or [*own, *(_loops(source) if own == [("", "")] else [])]:
                found.update({before + a + after: before + b + after for a, b in members.items()})
    for before, after in _affixes_of_names(source):
        found.update({before + a + after: before + b + after for a, b in classes.items()})
    written = _logged_by_name(calls)
    source.facts.renamed_scores.update({a: b for a, b in found.items() if a not in written})


def _renamed_class(source: Source, call: cst.Call) -> tuple[str, str] | None:
    """Returns the old and the new name of a score's class, where they differ."""
    name = canonical(source.qualified(call.func))
    target = target_of(source, call)
    if not target.startswith("torchmetrics.") or ".functional." in target:
        return None
    old, new = name.rpartition(".")[2], target.rpartition(".")[2]
    if new not in GROUPS["classification"]:
        return (old, new) if old != new and "Corr" in new else None
    values = {
        one.keyword.value: value_of(source, one.value)
        for one in call.args
        if one.keyword is not None
    }
    if "task" in values:
        return None
    if call.args and call.args[0].keyword is None and new not in ("Accuracy", "HammingDistance"):
        values["num_classes"] = value_of(source, call.args[0].value)
    for edit in rewrite_arguments(target, values):
        for argument_name, value in edit.sets:
            if argument_name == "task" and not edit.is_undecided and value in FORMS:
                return old, FORMS[value] + new
    return (old, new) if old != new else None


def _members(source: Source, call: cst.Call) -> Iterator[tuple[str, str]]:
    """Walks through the classes of a collection whose keys are the names of its classes."""
    values = [one.value for one in call.args if one.keyword is None]
    for value in values:
        elements = (
            [one.value for one in value.elements]
            if isinstance(value, cst.List | cst.Tuple)
            else [value]
        )
        for one in elements:
            made = (
                [one]
                if isinstance(one, cst.Call)
                else (source.assigned_calls(one) if isinstance(one, cst.Name) else ())
            )
            for constructor in made:
                if (pair := _renamed_class(source, constructor)) is not None:
                    yield pair


def _affixes(call: cst.Call) -> list[tuple[str, str]]:
    """Returns what may stand before and after the keys of a collection."""
    before, after = argument(call, "prefix"), argument(call, "postfix")
    return [*itertools.product(_texts(before), _texts(after))]


def _affixes_of_clones(calls: Sequence[cst.Call]) -> Iterator[tuple[str, str]]:
    for call in calls:
        if m.matches(call.func, m.Attribute(attr=m.Name("clone"))) and call.args:
            yield from _affixes(call)


def _texts(arg: cst.Arg | None) -> list[str]:
    """Returns what a string may be."""
    if arg is None or dotted(arg.value) == "None":
        return [""]
    if isinstance(arg.value, cst.SimpleString):
        return [str(arg.value.evaluated_value)]
    if isinstance(arg.value, cst.FormattedString):
        return [*_spelt(arg.value.parts)]
    return [""]


def _spelt(parts: Sequence[cst.BaseFormattedStringContent]) -> Iterator[str]:
    """Spells out a formatted string: what it holds of the run may be a stage."""
    choices = [
        (one.value,) if isinstance(one, cst.FormattedStringText) else STAGES for one in parts
    ]
    if sum(isinstance(one, cst.FormattedStringExpression) for one in parts) <= 1:
        yield from map("".join, itertools.product(*choices))


def _affixes_of_names(source: Source) -> Iterator[tuple[str, str]]:
    """Walks through what stands around the name of a class in a name that is put together."""
    for one in m.findall(source.module, m.FormattedString()):
        assert isinstance(one, cst.FormattedString)
        for place, part in enumerate(one.parts):
            if isinstance(part, cst.FormattedStringExpression) and _is_class_name(part.expression):
                yield from itertools.product(
                    [*_spelt(one.parts[:place])], [*_spelt(one.parts[place + 1 :])]
                )
    added = m.BinaryOperation(left=m.SimpleString(), operator=m.Add(), right=CLASS_NAME)
    for one in m.findall(source.module, added):
        assert isinstance(one, cst.BinaryOperation)
        assert isinstance(one.left, cst.SimpleString)
        if _is_class_name(one.right):
            yield str(one.left.evaluated_value), ""


def _is_class_name(node: cst.BaseExpression) -> bool:
    of_class = m.Attribute(value=m.Attribute(attr=m.Name("__class__")), attr=m.Name("__name__"))
    of_type = m.Attribute(value=m.Call(func=m.Name("type")), attr=m.Name("__name__"))
    return m.matches(node, of_class | of_type)


def _loops(source: Source) -> Iterator[tuple[str, str]]:
    """Walks through what is put before the keys of a collection while they are logged."""
    for one in m.findall(source.module, m.FormattedString()):
        assert isinstance(one, cst.FormattedString)
        match one.parts:
            case [cst.FormattedStringText(value=before), cst.FormattedStringExpression() as last]:
                if before.endswith(("_", "/")) and isinstance(last.expression, cst.Name):
                    yield before, ""


def _logged_by_name(calls: Sequence[cst.Call]) -> set[str]:
    """Returns the scores whose names are written out where they are logged."""
    found: set[str] = set()
    for call in calls:
        func = dotted(call.func)
        if func.endswith((".log", ".log_dict")) and call.args:
            strings = m.findall(call.args[0], m.SimpleString())
            found |= {str(s.evaluated_value) for s in strings if isinstance(s, cst.SimpleString)}
    return found


def follow_score(source: Source, old: cst.SimpleString, new: cst.SimpleString) -> cst.SimpleString:
    """Rewrites a string that is the name of a score, or holds one in braces.

    Args:
        source: The file.
        old: The string as it was.
        new: The string as it is now.
    """
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
    source.note("score-names", old, raw, written, why(rule_of("score-names")))
    return new.with_changes(value=old.prefix + old.quote + written + old.quote)


def rename_in_braces(text: str, scores: Mapping[str, str]) -> str:
    """Renames scores in the template of a checkpoint's name.

    Args:
        text: The template.
        scores: Old name to new one.

    Example:
        >>> rename_in_braces("{epoch}-{val_F1:.2f}", {"val_F1": "val_MulticlassF1Score"})
        '{epoch}-{val_MulticlassF1Score:.2f}'
    """
    return re.sub(
        r"\{([^{}:!]+)(?=[:!}])",
        lambda found: "{" + scores.get(found[1], found[1]),
        text,
    )


def _is_score(source: Source, node: cst.SimpleString, scores: Mapping[str, str]) -> bool:
    """Tells whether a string names a score: by where it stands, if it could be a class, too."""
    value = str(node.evaluated_value)
    if value != value.replace("_", "").replace("/", ""):
        return True
    parent = source.parent(node)
    if isinstance(parent, cst.Arg):
        call = source.parent(parent)
        word = parent.keyword.value if parent.keyword is not None else ""
        called = dotted(call.func) if isinstance(call, cst.Call) else ""
        is_read = any(f"{one}.get" in called for one in READS)
        return word == "monitor" or called.endswith("EarlyStopping") or is_read
    if isinstance(parent, cst.DictElement):
        return m.matches(parent.key, m.SimpleString()) and "monitor" in source.code(parent.key)
    if isinstance(parent, cst.Index):
        element = source.parent(parent)
        whole = source.parent(element) if element is not None else None
        return isinstance(whole, cst.Subscript) and dotted(whole.value).endswith(READS)
    return False
