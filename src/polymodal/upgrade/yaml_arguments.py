"""Changes a section's class and arguments in a YAML text."""

from dataclasses import dataclass, replace

from polymodal.upgrade.arguments import rewrite_arguments
from polymodal.upgrade.changes import Change, Facts
from polymodal.upgrade.edits import Call, Expression, Value, among
from polymodal.upgrade.edits import Edit as Decision
from polymodal.upgrade.names import renamed
from polymodal.upgrade.yaml_sections import Section, arguments, now
from polymodal.upgrade.yaml_text import (
    Document,
    Edit,
    Entry,
    Keep,
    entry,
    is_sequence,
    shown,
)
from polymodal.upgrade.yaml_write import (
    Item,
    MappingChange,
    Pairs,
    edits_of,
    item_of,
    scalar,
)

FILLED_IN = ("monitor-mode-auto", "torchmetrics-task")  # polymodal knows both itself


@dataclass(frozen=True)
class Step:
    """Changes of the text that belong together.

    Args:
        edits: Changes of the text; none where it is left alone.
        changes: What is said of them, with lines of this text.
    """

    edits: tuple[Edit, ...]
    changes: tuple[Change, ...]


def class_step(document: Document, section: Section) -> Step | None:
    """Changes the name of a section's class.

    Args:
        document: The document.
        section: The section.

    Returns:
        The change; None where the class is called as it was.
    """
    if section.named is None:
        return None
    value = section.named.value
    found = renamed(str(value.value))
    if found is None:
        return None
    line = document.line(value.start_mark.index)
    if found.name is None:
        return Step((), (Change(found.rule.id, line, value.value, None, found.rule.note),))
    start, end = document.span(section.named)
    written = scalar(found.name, document.text[start:end])
    change = Change(found.rule.id, line, value.value, found.name, found.rule.note)
    return Step(((start, end, written),), (change,))


def argument_step(document: Document, section: Section, facts: Facts) -> Step | None:
    """Changes the arguments of a section.

    Args:
        document: The document.
        section: The section.
        facts: What the tree's files know of one another.

    Returns:
        The changes; None where nothing is to be said.
    """
    if section.options is None:
        return None
    given = arguments(document, section)
    decisions = [
        _placed(one, section, facts, document)
        for one in rewrite_arguments(section.target, given)
        if (one.argument in given or section.is_whole)
        and not (facts.fills_in and one.rule.id in FILLED_IN)
    ]
    if not decisions:
        return None
    change = MappingChange()
    said = []
    moved: list[tuple[Entry, Item]] = []
    for one in decisions:
        place = entry(section.options, one.argument)
        line = _line(document, section, place)
        found = shown(f"{one.argument}: {document.raw(place)}") if place else f"no {one.argument}"
        if one.is_undecided or (place and _is_named(document, place) and not one.sets):
            note = one.note or "other places name it by its anchor: take it out by hand"
            said.append(Change(one.rule.id, line, found, None, note))
            continue
        if place is None:
            change.behind[_first(section)] = one.sets
        else:
            change.replaced[place.place] = _kept(one.sets, given[one.argument])
        if one.callback is not None and place is not None:
            moved.append((place, _item(one.callback, section, document, place)))
        said.append(Change(one.rule.id, line, found, _written(one), one.note))
    edits = (*_callbacks(document, section, change, moved), *_edits(document, section, change))
    return Step(edits, tuple(said))


def _edits(document: Document, section: Section, change: MappingChange) -> list[Edit]:
    if not change.replaced and not change.behind:
        return []
    return edits_of(document, section.options, change)


def _placed(one: Decision, section: Section, facts: Facts, document: Document) -> Decision:
    """A callback needs a list that takes it; what is harmless is left out where there is none."""
    if one.callback is None:
        return one
    given = entry(section.options, "callbacks")
    is_free = given is None and not facts.callbacks_in_code
    is_list = given is not None and (
        is_sequence(given.value) or among(_plain_null(document, given), [None])
    )
    if is_free or is_list:
        return replace(one, note="")
    name = one.callback.target
    note = f"{one.note or f'{name} belongs to the callbacks'}; add it where they are listed"
    if one.rule.harmless:
        return Decision(one.rule, one.argument, note=note)
    return Decision(one.rule, one.argument, is_undecided=True, note=note)


def _plain_null(document: Document, given: Entry) -> Value:
    return None if document.raw(given) in ("", "null", "~") else given


def _callbacks(
    document: Document, section: Section, change: MappingChange, moved: list[tuple[Entry, Item]]
) -> list[Edit]:
    """Adds callbacks to the list of the section, or makes one in the place of the first."""
    if not moved:
        return []
    items = [item for _, item in moved]
    lines = [line for item in items for line in item.lines]
    given = entry(section.options, "callbacks")
    if given is None:
        places = range(len(section.options.value))
        kept = [one for one in places if change.replaced.get(one, True)]
        before = [one for one in kept if one < moved[0][0].place]
        place = before[-1] if before else kept[0] if kept else 0
        change.behind[place] = [*change.behind.get(place, ()), ("callbacks", items)]
        return []
    is_filled = is_sequence(given.value) and given.value.value
    if is_filled and not given.value.flow_style:
        indent = document.newline + document.indent(given.value)
        at = document.line_end(document.end(given.value))
        return [(at, at, "".join(indent + line for line in lines))]
    if is_filled:
        at = document.end(given.value.value[-1])
        return [(at, at, "".join(f", {item.in_line}" for item in items))]
    _, end = document.span(given)
    colon = document.text.index(":", given.key.end_mark.index) + 1
    if section.options.flow_style:
        return [(colon, max(end, colon), " " + scalar(items))]
    indent = document.newline + document.indent(given.key) + "  "
    return [(colon, max(end, colon), "".join(indent + line for line in lines))]


def _item(callback: Call | Expression, section: Section, document: Document, place: Entry) -> Item:
    """A callback as an item of a list."""
    if isinstance(callback, Call):
        is_cli = "class_path:" in document.text and "_target_:" not in document.text
        style = section.style or ("class_path" if is_cli else "_target_")
        return item_of(Call(now(callback.target), callback.arguments), style)
    first, *rest = _dedented(document, place)
    above = document.text[place.key.end_mark.index : document.span(place)[0]].splitlines()[1:]
    comments = [line.strip() for line in above if line.strip()]
    lines = (*comments, f"- {first}", *("  " + line for line in rest))
    return Item(lines, document.raw(place))


def _dedented(document: Document, place: Entry) -> list[str]:
    """The lines of a section, without the blanks that they share."""
    indent = len(document.indent(place.value))
    first, *rest = document.raw(place).splitlines()
    return [
        first,
        *(line[indent:] if not line[:indent].strip() else line.lstrip() for line in rest),
    ]


def _kept(sets: Pairs, old: Value) -> Pairs:
    """What stands in the place of an argument; a value that is only called otherwise stays."""
    if sets and among(sets[0][1], [old]):
        return [(sets[0][0], Keep), *sets[1:]]
    return sets


def _is_named(document: Document, place: Entry) -> bool:
    """Whether an anchor stands at the value, and other places need it."""
    raw = document.raw(place)
    name = raw.split()[0][1:] if raw.startswith("&") else ""
    return bool(name) and f"*{name}" in document.text


def _written(one: Decision) -> str:
    parts = [f"{name}: {scalar(value)}" for name, value in one.sets]
    if one.callback is not None:
        options = one.callback.arguments if isinstance(one.callback, Call) else {}
        more = ", ".join(f"{name}: {scalar(value)}" for name, value in options.items())
        parts.append(f"callbacks: {now(one.callback.target)}" + (f" ({more})" if more else ""))
    return shown(", ".join(parts))


def _first(section: Section) -> int:
    """Behind which entry an argument is added that was missing."""
    if section.style == "_target_" and section.named is not None:
        return section.named.place
    return 0


def _line(document: Document, section: Section, place: Entry | None) -> int:
    at = place or section.named
    return document.line(at.key.start_mark.index if at else section.options.start_mark.index)
