"""Migrate recorded runs of polymodal from release to release."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.upgrade.changes import Change, Rewrite
from polymodal.upgrade.own_names import RENAMED_KEYS, RENAMED_OPTIONS, current_target
from polymodal.upgrade.yaml_text import (
    Document,
    TextEdit,
    apply_edits,
    entries,
    entry,
    is_mapping,
    is_scalar,
    to_plain,
)
from polymodal.upgrade.yaml_write import MappingChange, edits_of

RULE = "own-config"


@dataclass(frozen=True)
class Migration:
    """One step of a recorded configuration: release, note, and a function that finds the change.

    The function returns None if a configuration already has the new form.
    """

    version: str
    note: str
    step: Callable[[Document], "ConfigChange | None"]


@dataclass(frozen=True)
class ConfigChange:
    """A change of a recorded configuration: position in the text, old and new text, edits."""

    position: int
    before: str
    after: str
    edits: tuple[TextEdit, ...]


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run of polymodal."""
    return (folder / "run.json").is_file() and (folder / "config.yaml").is_file()


def is_outdated(folder: Path) -> bool:
    """Return whether the configuration of a run has a form that is no longer read."""
    path = folder / "config.yaml"
    return bool(rewrite_run(path.read_text(encoding="utf-8"), path).changes)


def rewrite_run(text: str, path: Path) -> Rewrite:
    """Migrate a `config.yaml`; a `run.json` is returned as it is, with `record_version` 1 so far.

    Raises:
        ruamel.yaml.error.YAMLError: The text is not valid YAML.
    """
    changes = []
    if path.name == "config.yaml":
        for migration in MIGRATIONS:
            document = Document(text)
            change = migration.step(document)
            if change is not None:
                line = document.line(change.position)
                note = f"{migration.note} ({migration.version})"
                changes.append(Change(RULE, line, change.before, change.after, note))
                text, _ = apply_edits(text, change.edits)
    return Rewrite(text, tuple(changes))


def _task_monitor(document: Document) -> ConfigChange | None:
    """Name the leading score once, in the task, not in each callback."""
    root = document.roots[0] if document.roots else None
    task, callbacks = entry(root, "task"), entry(root, "callbacks")
    if task is None or not is_mapping(task.value) or entry(task.value, "monitor") is not None:
        return None
    watched = to_plain(callbacks.value) if callbacks else {}
    monitors = [
        options["monitor"].partition("/")[2]
        for options in (watched or {}).values()
        if isinstance(options, dict) and str(options.get("monitor", "")).startswith("val/")
    ]
    monitor = next((name for name in monitors if name), "uar")
    last = list(entries(task.value))[-1]
    change = MappingChange(added={last.index: [("monitor", monitor)]})
    at = task.key.start_mark.index
    edits = tuple(edits_of(document, task.value, change))
    return ConfigChange(at, "no task.monitor", f"task.monitor: {monitor}", edits)


def _moved_targets(document: Document) -> ConfigChange | None:
    """Replace the old names of polymodal's modules, classes and functions."""
    targets = [
        node for path, node in document.nodes() if path[-1:] == ("_target_",) and is_scalar(node)
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
    """Replace the old names of options of polymodal's classes."""
    renames = [
        (key, new)
        for _, section in document.nodes()
        if (target := entry(section, "_target_")) is not None and is_scalar(target.value)
        for old, new in RENAMED_OPTIONS.get(target.value.value, {}).items()
        if (key := _key_node(section, old)) is not None
    ]
    return _rename(document, renames)


def _renamed_keys(document: Document) -> ConfigChange | None:
    """Replace the old names of the program's own options."""
    root = document.roots[0] if document.roots else None
    renames = [
        (key, new) for old, new in RENAMED_KEYS.items() if (key := _key_node(root, old)) is not None
    ]
    return _rename(document, renames)


def _rename(document: Document, renames: Sequence[tuple[Any, str]]) -> ConfigChange | None:
    if not renames:
        return None
    first, new = renames[0]
    others = f" and {len(renames) - 1} more" if len(renames) > 1 else ""
    edits = tuple((key.start_mark.index, document.end(key), name) for key, name in renames)
    return ConfigChange(first.start_mark.index, first.value + others, new + others, edits)


def _key_node(section: Any, dotted: str) -> Any:
    """Return the node of a dotted key below a section, or None."""
    name, _, rest = dotted.partition(".")
    option = entry(section, name)
    if option is None or not rest:
        return option.key if option else None
    return _key_node(option.value, rest)


MIGRATIONS: tuple[Migration, ...] = (
    Migration("0.1.0", "the leading score of a run is named once, in its task", _task_monitor),
    Migration("0.1.0", "the packages of polymodal were renamed", _moved_targets),
    Migration("0.1.0", "options say fraction and probability, not share", _renamed_options),
    Migration("0.1.0", "options of the program were renamed", _renamed_keys),
)
