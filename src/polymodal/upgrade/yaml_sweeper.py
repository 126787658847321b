"""The search space of hydra-optuna-sweeper, as overrides in `params`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from polymodal.upgrade.changes import Change
from polymodal.upgrade.yaml_arguments import Step, step
from polymodal.upgrade.yaml_text import Document, YamlEntry, entries, entry, is_mapping, to_plain
from polymodal.upgrade.yaml_write import MappingChange, edits_of

RULE = "hydra-search-space"
PLAIN = re.compile(r"[A-Za-z_][\w./-]*|-?\d+(\.\d+)?([eE][+-]?\d+)?")


def sweeper_steps(document: Document) -> Iterator[Step]:
    """Yield a change for each search space."""
    for _, node in document.nodes():
        space = entry(node, "search_space")
        if space is not None and is_mapping(space.value):
            yield from _step(document, node, space)


def _step(document: Document, sweeper: Any, space: YamlEntry) -> Iterator[Step]:
    ranges = [(item, _override(to_plain(item.value))) for item in entries(space.value)]
    if not any(is_mapping(item.value) for item, _ in ranges):
        return  # of another program
    line = document.line_of(space.key)
    unknown = [item.name for item, override in ranges if override is None]
    if unknown or entry(sweeper, "params") is not None:
        note = f"write {unknown[0]} as in params by hand" if unknown else "params is given, too"
        yield step(RULE, line, "search_space", None, note=note)
        return
    change = MappingChange({item.index: [(item.name, override)] for item, override in ranges})
    key = (space.key.start_mark.index, space.key.end_mark.index, "params")
    changes = [Change(RULE, line, "search_space", "params")]
    for item, override in ranges:
        after = f"{item.name}: {override}"
        changes.append(Change(RULE, document.line_of(item.key), item.name, after))
    yield Step((key, *edits_of(document, space.value, change)), tuple(changes))


def _override(given: Any) -> str | None:
    """Return a range as an override; None if there is none for it."""
    if not isinstance(given, Mapping):
        return None
    kind, low, high = given.get("type"), given.get("low"), given.get("high")
    if kind == "categorical" and isinstance(given.get("choices"), list):
        choices = [_choice(choice) for choice in given["choices"]]
        return None if None in choices else f"choice({', '.join(map(str, choices))})"
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    if kind == "float" and given.get("step") is None:
        interval = f"interval({low}, {high})"
        return f"tag(log, {interval})" if given.get("log") else interval
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
