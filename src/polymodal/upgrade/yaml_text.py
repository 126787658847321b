"""A YAML text and changes of it that leave every other character as it was."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from polymodal.config.provenance import LOADER

Edit = tuple[int, int, str]  # from, to, and what stands there afterwards
Keep = object()  # the value of an entry as it stands
ANCHOR = re.compile(r"&\S+[ \t]+")
ALIAS = re.compile(r"[ \t]*(\*[^\s,\]}]+)")
WIDTH = 70  # a value that is said in a report is cut off here


@dataclass(frozen=True)
class Entry:
    """One key of a mapping and its value.

    Args:
        key: Node of the key.
        value: Node of the value.
        place: Its place in the mapping.
    """

    key: Any
    value: Any
    place: int

    @property
    def name(self) -> str:
        """The key as text."""
        return str(self.key.value)


@dataclass
class Document:
    """A YAML text, read with positions.

    Args:
        text: The text.
    """

    text: str
    roots: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        reader = YAML(typ="rt", pure=True)
        self.roots = [root for root in reader.compose_all(self.text) if root is not None]
        self.newline = "\r\n" if "\r\n" in self.text else "\n"
        self._starts = [0, *(one.end() for one in re.finditer("\n", self.text))]

    def line(self, index: int) -> int:
        """Returns the line of a position, from 1.

        Args:
            index: Position in the text.
        """
        return bisect_right(self._starts, index)

    def raw(self, entry: Entry) -> str:
        """Returns a value as it stands.

        Args:
            entry: Its entry.
        """
        start, end = self.span(entry)
        return self.text[start:end]

    def span(self, entry: Entry) -> tuple[int, int]:
        """Returns where a value stands; both ends are behind the colon where there is none.

        Args:
            entry: Its entry.
        """
        behind = self.text.index(":", entry.key.end_mark.index) + 1
        if entry.value.start_mark.index < entry.key.start_mark.index:  # an alias of what was before
            found = ALIAS.match(self.text, behind)
            return (found.start(1), found.end(1)) if found else (behind, behind)
        if (
            isinstance(entry.value, ScalarNode)
            and entry.value.value == ""
            and not entry.value.style
        ):
            return behind, behind
        return entry.value.start_mark.index, self.end(entry.value)

    def end(self, node: Any) -> int:
        """Returns where a node ends, without what follows it.

        Args:
            node: The node.
        """
        if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
            last = node.value[-1]
            if isinstance(node, SequenceNode):
                return self.end(last)
            key, value = last
            return self.span(Entry(key, value, len(node.value) - 1))[1]
        start, end = int(node.start_mark.index), int(node.end_mark.index)
        return start + len(self.text[start:end].rstrip())

    def line_start(self, index: int) -> int:
        """Returns where the line of a position begins.

        Args:
            index: Position in the text.
        """
        return self.text.rfind("\n", 0, index) + 1

    def line_end(self, index: int) -> int:
        """Returns where the line of a position ends, before its line break.

        Args:
            index: Position in the text.
        """
        end = self.text.find("\n", index)
        end = len(self.text) if end < 0 else end
        return end - 1 if end and self.text[end - 1] == "\r" else end

    def indent(self, node: Any) -> str:
        """Returns the blanks that align with a node.

        Args:
            node: The node.
        """
        start = int(node.start_mark.index)
        return " " * (start - self.line_start(start))


def entries(node: Any) -> Iterator[Entry]:
    """Goes through the keys of a mapping; merge keys and keys that are no text are left out.

    Args:
        node: Any node.

    Yields:
        Its entries; none where it is no mapping.
    """
    if isinstance(node, MappingNode):
        for place, (key, value) in enumerate(node.value):
            if isinstance(key, ScalarNode) and key.value != "<<":
                yield Entry(key, value, place)


def entry(node: Any, name: str) -> Entry | None:
    """Returns the entry of a key; the last, if there are several, as readers do.

    Args:
        node: Any node.
        name: The key.
    """
    return next((one for one in reversed(list(entries(node))) if one.name == name), None)


def plain(node: Any) -> Any:
    """Returns a node as plain values, as Hydra reads them; interpolations stay texts.

    Args:
        node: The node.
    """
    if isinstance(node, MappingNode):
        return {plain(one.key): plain(one.value) for one in entries(node)}
    if isinstance(node, SequenceNode):
        return [plain(one) for one in node.value]
    if node.style in ("'", '"', "|", ">"):
        return node.value
    try:
        return yaml.load(node.value, Loader=LOADER)
    except (yaml.YAMLError, ValueError):
        return node.value


def shown(text: str) -> str:
    """Returns a piece of text in short, on one line.

    Args:
        text: Any text.
    """
    short = " ".join(text.split())
    return short if len(short) <= WIDTH else short[: WIDTH - 1] + "…"


def changed(text: str, edits: Iterable[Edit]) -> tuple[str, list[int]]:
    """Applies changes to a text.

    Args:
        text: The text.
        edits: Changes, none of which overlap.

    Returns:
        The new text, and for each of its lines the line of the old text, both from 1.
    """
    pieces, lines, at, old_line = [], [1], 0, 1
    for start, end, new in sorted(edits, key=lambda one: (one[0], one[1])):
        assert at <= start, "changes overlap"
        kept = text[at:start]
        lines += range(old_line + 1, old_line + kept.count("\n") + 1)
        old_line += kept.count("\n")
        lines += [_line_of(one, text, old_line) for one in new.split("\n")[1:]]
        pieces += [kept, new]
        old_line += text.count("\n", start, end)
        at = end
    lines += range(old_line + 1, old_line + text.count("\n", at) + 1)
    return "".join([*pieces, text[at:]]), lines


def _line_of(new: str, text: str, near: int) -> int:
    """The line of a text that a new line was moved from; the place it is put where it is new."""
    words = new.strip().removeprefix("- ")
    same = [n for n, one in enumerate(text.split("\n"), 1) if words and one.strip() == words]
    return min(same, key=lambda one: abs(one - near), default=near)


def is_mapping(node: Any) -> bool:
    """Tells whether a node is a mapping.

    Args:
        node: The node.
    """
    return isinstance(node, MappingNode)


def is_sequence(node: Any) -> bool:
    """Tells whether a node is a list.

    Args:
        node: The node.
    """
    return isinstance(node, SequenceNode)


def is_scalar(node: Any) -> bool:
    """Tells whether a node is a single value.

    Args:
        node: The node.
    """
    return isinstance(node, ScalarNode)


def below(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Goes through a node and all below it, each once.

    Args:
        node: The node.
        path: Keys that lead to it.

    Yields:
        The keys that lead to a node, and the node.
    """
    seen: set[int] = set()

    def walk(one: Node, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        if id(one) in seen:
            return
        seen.add(id(one))
        yield keys, one
        for each in entries(one):
            yield from walk(each.value, (*keys, each.name))
        if isinstance(one, SequenceNode):
            for place, item in enumerate(one.value):
                yield from walk(item, (*keys, str(place)))

    yield from walk(node, path)
