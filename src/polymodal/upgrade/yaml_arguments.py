"""Change the class and the arguments of a section in a YAML text."""

from dataclasses import dataclass, replace

from ruamel.yaml.nodes import SequenceNode

from polymodal.upgrade.arguments import rewrite_arguments
from polymodal.upgrade.changes import Change, ProjectFacts
from polymodal.upgrade.edits import ArgEdit as Decision
from polymodal.upgrade.edits import Call, Expression, Value, contains
from polymodal.upgrade.names import current
from polymodal.upgrade.yaml_sections import Section, arguments, current_name
from polymodal.upgrade.yaml_text import KEEP, Document, TextEdit, YamlEntry, entry, shorten
from polymodal.upgrade.yaml_write import MappingChange, Pairs, YamlItem, edits_of, item_of, scalar

FILLED_IN = ("monitor-mode-auto", "torchmetrics-task")  # polymodal fills in both


@dataclass(frozen=True)
class Step:
    """Edits of the text that belong together, and their changes, with lines of this text."""

    edits: tuple[TextEdit, ...]
    changes: tuple[Change, ...]


def step(
    rule: str, line: int, before: str, after: str | None, *edits: TextEdit, note: str = ""
) -> Step:
    """Return a step with one change."""
    return Step(edits, (Change(rule, line, before, after, note),))


def class_step(document: Document, section: Section) -> Step | None:
    """Rename the class of a section; None if it has not changed."""
    if section.named is None:
        return None
    value = section.named.value
    move = current(str(value.value))
    if move is None:
        return None
    rule, line, before = move.rule, document.line_of(value), str(value.value)
    if move.name is None:
        return step(rule.id, line, before, None, note=rule.note)
    start, end = document.span(section.named)
    edit = (start, end, scalar(move.name, document.text[start:end]))
    return step(rule.id, line, before, move.name, edit, note=rule.note)


def argument_step(document: Document, section: Section, facts: ProjectFacts) -> Step | None:
    """Change the arguments of a section; None if there is nothing to change or note."""
    if section.options is None:
        return None
    given = arguments(document, section)
    decisions = [
        _placed(decision, section, facts, document)
        for decision in rewrite_arguments(section.target, given)
        if (decision.argument in given or section.is_complete)
        and not (facts.fills_in and decision.rule.id in FILLED_IN)
    ]
    if not decisions:
        return None
    change, changes = MappingChange(), []
    moved: list[tuple[YamlEntry, YamlItem]] = []
    for decision in decisions:
        name, old = decision.argument, entry(section.options, decision.argument)
        line = _line(document, section, old)
        before = shorten(f"{name}: {document.raw(old)}") if old else f"no {name}"
        is_shared = old is not None and not decision.sets and _is_named(document, old)
        if decision.is_undecided or is_shared:
            note = decision.note or "other places name it by its anchor: take it out by hand"
            changes.append(Change(decision.rule.id, line, before, None, note))
            continue
        if old is None:
            at = section.named.index if section.style == "_target_" and section.named else 0
            change.added[at] = decision.sets
        else:
            change.replaced[old.index] = _kept(decision.sets, given[name])
            if decision.callback is not None:
                moved.append((old, _item(decision.callback, section, document, old)))
        changes.append(Change(decision.rule.id, line, before, _written(decision), decision.note))
    edits = _callbacks(document, section, change, moved)
    if change.replaced or change.added:
        edits += edits_of(document, section.options, change)
    return Step(tuple(edits), tuple(changes))


def _placed(
    decision: Decision, section: Section, facts: ProjectFacts, document: Document
) -> Decision:
    """Return a decision on a callback as it can be made here: there may be no list for it."""
    if decision.callback is None:
        return decision
    given, can_add = entry(section.options, "callbacks"), not facts.callbacks_in_code
    if given is not None:
        is_empty = document.raw(given) in ("", "null", "~")
        can_add = is_empty or isinstance(given.value, SequenceNode)
    if can_add:
        return replace(decision, note="")
    note = decision.note or f"{decision.callback.target} belongs to the callbacks"
    note += "; add it where they are listed"
    is_undecided = not decision.rule.harmless
    return Decision(decision.rule, decision.argument, is_undecided=is_undecided, note=note)


def _callbacks(
    document: Document,
    section: Section,
    change: MappingChange,
    moved: list[tuple[YamlEntry, YamlItem]],
) -> list[TextEdit]:
    """Add callbacks to the list of the section, or create one in place of the first."""
    if not moved:
        return []
    items = [item for _, item in moved]
    lines = [line for item in items for line in item.lines]
    given = entry(section.options, "callbacks")
    if given is None:
        indices = range(len(section.options.value))
        remaining = [index for index in indices if change.replaced.get(index, True)]
        before = [index for index in remaining if index < moved[0][0].index]
        index = (before[-1:] or remaining[:1] or [0])[0]
        change.added[index] = [*change.added.get(index, ()), ("callbacks", items)]
        return []
    is_filled = isinstance(given.value, SequenceNode) and given.value.value
    if is_filled and not given.value.flow_style:
        end = document.line_end(document.end(given.value))
        return [document.insertion(end, document.indent(given.value), lines)]
    if is_filled:
        end = document.end(given.value.value[-1])
        return [(end, end, "".join(f", {item.in_line}" for item in items))]
    _, end = document.span(given)
    colon = document.text.index(":", given.key.end_mark.index) + 1
    if section.options.flow_style:
        return [(colon, max(end, colon), " " + scalar(items))]
    _, _, text = document.insertion(colon, document.indent(given.key) + "  ", lines)
    return [(colon, max(end, colon), text)]


def _item(
    callback: Call | Expression, section: Section, document: Document, given: YamlEntry
) -> YamlItem:
    if isinstance(callback, Call):
        is_cli = "class_path:" in document.text and "_target_:" not in document.text
        style = section.style or ("class_path" if is_cli else "_target_")
        return item_of(Call(current_name(callback.target), callback.arguments), style)
    first, *rest = _dedented(document, given)
    above = document.text[given.key.end_mark.index : document.span(given)[0]].splitlines()[1:]
    comments = [line.strip() for line in above if line.strip()]
    lines = (*comments, f"- {first}", *("  " + line for line in rest))
    return YamlItem(lines, document.raw(given))


def _dedented(document: Document, given: YamlEntry) -> list[str]:
    """Return the lines of a section, without their common indentation."""
    indent = len(document.indent(given.value))
    first, *rest = document.raw(given).splitlines()
    return [first, *(line.lstrip() if line[:indent].strip() else line[indent:] for line in rest)]


def _kept(sets: Pairs, old: Value) -> Pairs:
    """Return the replacement of an argument; a value that is only renamed stays as it is."""
    if sets and contains(sets[0][1], [old]):
        return [(sets[0][0], KEEP), *sets[1:]]
    return sets


def _is_named(document: Document, given: YamlEntry) -> bool:
    """Return whether other nodes refer to the value by its anchor."""
    raw = document.raw(given)
    name = raw.split()[0][1:] if raw.startswith("&") else ""
    return bool(name) and f"*{name}" in document.text


def _written(decision: Decision) -> str:
    items = [f"{name}: {scalar(value)}" for name, value in decision.sets]
    if decision.callback is not None:
        options = decision.callback.arguments if isinstance(decision.callback, Call) else {}
        more = ", ".join(f"{name}: {scalar(value)}" for name, value in options.items())
        target = current_name(decision.callback.target)
        items.append(f"callbacks: {target} ({more})" if more else f"callbacks: {target}")
    return shorten(", ".join(items))


def _line(document: Document, section: Section, given: YamlEntry | None) -> int:
    at = given or section.named
    return document.line(at.key.start_mark.index if at else section.options.start_mark.index)
