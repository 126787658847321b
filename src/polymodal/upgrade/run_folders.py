"""Carries our own run folders and configurations forward, from release to release."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.upgrade.changes import Change, Rewrite
from polymodal.upgrade.own_names import RENAMED_OPTIONS, current_target
from polymodal.upgrade.yaml_text import (
    Document,
    Edit,
    below,
    changed,
    entries,
    entry,
    is_mapping,
    is_scalar,
    plain,
)
from polymodal.upgrade.yaml_write import MappingChange, edits_of

RULE = "own-config"


@dataclass(frozen=True)
class Migration:
    """One step forward of a recorded configuration.

    Args:
        version: Release that writes the new form.
        note: What has changed.
        step: Finds the change; None where a configuration has the new form.
    """

    version: str
    note: str
    step: Callable[[Document], "ConfigChange | None"]


@dataclass(frozen=True)
class ConfigChange:
    """A change of a recorded configuration.

    Args:
        at: Position in the text that it is about.
        found: What stands there.
        written: What takes its place.
        edits: Changes of the text.
    """

    at: int
    found: str
    written: str
    edits: tuple[Edit, ...]


def is_run(folder: Path) -> bool:
    """Tells whether a folder is one of our runs.

    Args:
        folder: The folder.
    """
    return (folder / "run.json").is_file() and (folder / "config.yaml").is_file()


def is_outdated(folder: Path) -> bool:
    """Tells whether an earlier release recorded a run in a form that is no longer read.

    Args:
        folder: The run's folder.
    """
    path = folder / "config.yaml"
    return bool(rewrite_run(path.read_text(encoding="utf-8"), path).changes)


def rewrite_run(text: str, path: Path) -> Rewrite:
    """Carries a file of a run folder forward.

    The record itself has had one layout so far, `record_version` 1; its configuration has not.

    Args:
        text: Text of `config.yaml` or `run.json`.
        path: The file.

    Returns:
        Its new text.

    Raises:
        ruamel.yaml.error.YAMLError: It is no YAML.
    """
    changes = []
    if path.name == "config.yaml":
        for migration in MIGRATIONS:
            document = Document(text)
            found = migration.step(document)
            if found is not None:
                line = document.line(found.at)
                note = f"{migration.note} ({migration.version})"
                changes.append(Change(RULE, line, found.found, found.written, note))
                text, _ = changed(text, found.edits)
    return Rewrite(text, tuple(changes))


def _task_monitor(document: Document) -> ConfigChange | None:
    """The first configurations named the leading score in each callback, not once in the task."""
    root = document.roots[0] if document.roots else None
    task, callbacks = entry(root, "task"), entry(root, "callbacks")
    if task is None or not is_mapping(task.value) or entry(task.value, "monitor") is not None:
        return None
    watched = plain(callbacks.value) if callbacks else {}
    monitors = [
        one["monitor"].partition("/")[2]
        for one in (watched or {}).values()
        if isinstance(one, dict) and str(one.get("monitor", "")).startswith("val/")
    ]
    monitor = next((one for one in monitors if one), "uar")
    last = list(entries(task.value))[-1]
    change = MappingChange(behind={last.place: [("monitor", monitor)]})
    at = task.key.start_mark.index
    edits = tuple(edits_of(document, task.value, change))
    return ConfigChange(at, "no task.monitor", f"task.monitor: {monitor}", edits)


def _moved_targets(document: Document) -> ConfigChange | None:
    """The packages of polymodal have got other names."""
    targets = [
        node
        for root in document.roots
        for path, node in below(root)
        if path and path[-1] == "_target_" and is_scalar(node)
    ]
    renamed = {id(node): current_target(node.value) for node in targets}
    moved = [node for node in targets if renamed[id(node)] != node.value]
    if not moved:
        return None
    edits = tuple((node.start_mark.index, document.end(node), renamed[id(node)]) for node in moved)
    others = f" and {len(moved) - 1} more" if len(moved) > 1 else ""
    first = moved[0]
    written = renamed[id(first)] + others
    return ConfigChange(first.start_mark.index, first.value + others, written, edits)


def _renamed_options(document: Document) -> ConfigChange | None:
    """Some options of classes have got other names."""
    renames = [
        (key, new)
        for root in document.roots
        for _, section in below(root)
        if (target := entry(section, "_target_")) is not None and is_scalar(target.value)
        for old, new in RENAMED_OPTIONS.get(target.value.value, {}).items()
        if (key := _key_node(section, old)) is not None
    ]
    if not renames:
        return None
    first, new = renames[0]
    others = f" and {len(renames) - 1} more" if len(renames) > 1 else ""
    edits = tuple((key.start_mark.index, document.end(key), name) for key, name in renames)
    return ConfigChange(first.start_mark.index, first.value + others, new + others, edits)


def _key_node(section: Any, dotted: str) -> Any:
    """The node of a dotted key below a section, or None."""
    name, _, rest = dotted.partition(".")
    found = entry(section, name)
    if found is None or not rest:
        return found.key if found else None
    return _key_node(found.value, rest)


MIGRATIONS: tuple[Migration, ...] = (
    Migration("0.1.0", "the score that leads a run stands once, in its task", _task_monitor),
    Migration("0.1.0", "the packages of polymodal were renamed", _moved_targets),
    Migration("0.1.0", "options say fraction and probability, not share", _renamed_options),
)
