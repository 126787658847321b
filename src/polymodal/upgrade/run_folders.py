"""Migrate recorded runs of polymodal from release to release."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, ScalarNode

from polymodal.upgrade.changes import Rewrite
from polymodal.upgrade.own_names import RENAMED_KEYS, RENAMED_OPTIONS, current_target
from polymodal.upgrade.yaml_arguments import Step, step
from polymodal.upgrade.yaml_text import Document, apply_edits, entries, entry, to_plain
from polymodal.upgrade.yaml_write import MappingChange, edits_of

RULE = "own-config"


@dataclass(frozen=True)
class Migration:
    """A change of recorded configurations: release, note, and a function that makes it.

    The function returns None if a configuration already has the new form.
    """

    version: str
    note: str
    step: Callable[[Document], Step | None]


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
            if (result := migration.step(Document(text))) is not None:
                note = f"{migration.note} ({migration.version})"
                changes += [replace(change, note=note) for change in result.changes]
                text, _ = apply_edits(text, result.edits)
    return Rewrite(text, tuple(changes))


def _task_monitor(document: Document) -> Step | None:
    """Name the leading score once, in the task, not in each callback."""
    root = document.roots[0] if document.roots else None
    task, callbacks = entry(root, "task"), entry(root, "callbacks")
    if (
        task is None
        or not isinstance(task.value, MappingNode)
        or entry(task.value, "monitor") is not None
    ):
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
    edits = edits_of(document, task.value, change)
    line = document.line_of(task.key)
    return step(RULE, line, "no task.monitor", f"task.monitor: {monitor}", *edits)


def _moved_targets(document: Document) -> Step | None:
    """Replace the old names of polymodal's modules, classes and functions."""
    targets = [
        (node, current_target(node.value))
        for path, node in document.nodes()
        if path[-1:] == ("_target_",) and isinstance(node, ScalarNode)
    ]
    return _renamed(document, [(node, new) for node, new in targets if new != node.value])


def _renamed_options(document: Document) -> Step | None:
    """Replace the old names of options of polymodal's classes."""
    renames = [
        (key, new)
        for _, section in document.nodes()
        if (target := entry(section, "_target_")) is not None
        and isinstance(target.value, ScalarNode)
        for old, new in RENAMED_OPTIONS.get(target.value.value, {}).items()
        if (key := _key_node(section, old)) is not None
    ]
    return _renamed(document, renames)


def _renamed_keys(document: Document) -> Step | None:
    """Replace the old names of the program's own options."""
    root = document.roots[0] if document.roots else None
    renames = [
        (key, new) for old, new in RENAMED_KEYS.items() if (key := _key_node(root, old)) is not None
    ]
    return _renamed(document, renames)


def _renamed(document: Document, renames: Sequence[tuple[Any, str]]) -> Step | None:
    """Return the change of some nodes to new texts; None if there are none."""
    if not renames:
        return None
    first, new = renames[0]
    others = f" and {len(renames) - 1} more" if len(renames) > 1 else ""
    edits = [(node.start_mark.index, document.end(node), name) for node, name in renames]
    return step(RULE, document.line_of(first), first.value + others, new + others, *edits)


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
