"""The search space of hydra-optuna-sweeper, in the words that it takes now."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from polymodal.upgrade.changes import Change
from polymodal.upgrade.yaml_arguments import Step
from polymodal.upgrade.yaml_text import (
    Document,
    Entry,
    below,
    entries,
    entry,
    is_mapping,
    plain,
)
from polymodal.upgrade.yaml_write import MappingChange, edits_of

RULE = "hydra-search-space"
PLAIN = re.compile(r"[A-Za-z_][\w./-]*|-?\d+(\.\d+)?([eE][+-]?\d+)?")


def sweeper_steps(document: Document) -> Iterator[Step]:
    """Finds search spaces.

    Args:
        document: The document.

    Yields:
        A change for each.
    """
    for root in document.roots:
        for _, node in below(root):
            found = entry(node, "search_space")
            if found is not None and is_mapping(found.value):
                yield from _step(document, node, found)


def _step(document: Document, sweeper: Any, space: Entry) -> Iterator[Step]:
    ranges = {one.place: (one, _words(plain(one.value))) for one in entries(space.value)}
    if not ranges or not any(is_mapping(one.value) for one, _ in ranges.values()):
        return  # it is somebody else's
    line = document.line(space.key.start_mark.index)
    unknown = [one.name for one, words in ranges.values() if words is None]
    if unknown or entry(sweeper, "params") is not None:
        note = f"write {unknown[0]} as in params by hand" if unknown else "params is given, too"
        yield Step((), (Change(RULE, line, "search_space", None, note),))
        return
    change = MappingChange({place: [(one.name, words)] for place, (one, words) in ranges.items()})
    key = (space.key.start_mark.index, space.key.end_mark.index, "params")
    said = [Change(RULE, line, "search_space", "params")]
    for one, words in ranges.values():
        at = document.line(one.key.start_mark.index)
        said.append(Change(RULE, at, one.name, f"{one.name}: {words}"))
    yield Step((key, *edits_of(document, space.value, change)), tuple(said))


def _words(given: Any) -> str | None:
    """A range in Hydra's words; None where there are none for it."""
    if not isinstance(given, Mapping):
        return None
    kind, low, high = given.get("type"), given.get("low"), given.get("high")
    if kind == "categorical" and isinstance(given.get("choices"), list):
        choices = [_choice(one) for one in given["choices"]]
        return None if None in choices else f"choice({', '.join(map(str, choices))})"
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    if kind == "float" and given.get("step") is None:
        words = f"interval({low}, {high})"
        return f"tag(log, {words})" if given.get("log") else words
    if kind == "int" and not given.get("log"):
        step = given.get("step")
        return f"range({low}, {high})" if step is None else f"range({low}, {high}, step={step})"
    return f"tag(log, int(interval({low}, {high})))" if kind == "int" else None


def _choice(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, int | float | str):
        return None
    text = str(value)
    if PLAIN.fullmatch(text):
        return text
    return f"'{text}'" if "'" not in text else None
