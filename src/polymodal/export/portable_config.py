"""A configuration without what belongs to this machine or names rows of a corpus."""

from typing import Any

import yaml

from polymodal.tracking.redaction import redact

# Sections that say where things are here or whom to tell, and those that name rows of a corpus.
LEFT_OUT = ("paths", "tracker", "alert", "resume", "hydra")
OF_ROWS = ("corpus", "split")
OF_HERE = ("corpus.root", "corpus.file", "corpus.speaker", "corpus.prepared", "split.file")
KEPT_LISTS = ("classes", "values", "labels", "groups", "disjoint")


def portable(text: str) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration without what belongs to this machine or names rows of a corpus.

    Args:
        text: As the run has stored it, interpolations unresolved.

    Returns:
        The configuration, and the keys of paths, whose values are `???`: to be given on loading.
    """
    config = redact(yaml.safe_load(text))
    kept = {key: one for key, one in config.items() if key not in LEFT_OUT}
    for section in OF_ROWS:
        if isinstance(options := kept.get(section), dict):
            kept[section] = {
                key: option for key, option in options.items() if _is_general(key, option)
            }
    asked: list[str] = []
    return {key: without_paths(one, key, asked) for key, one in kept.items()}, asked


def without_paths(node: Any, key: str, asked: list[str]) -> Any:
    """Return a node of a configuration; what is a path of this machine is given on loading.

    Args:
        node: A section or a value.
        key: Its dotted key.
        asked: Gets the keys of what has to be given on loading.
    """
    if isinstance(node, dict):
        return {k: without_paths(one, f"{key}.{k}", asked) for k, one in node.items()}
    here = key in OF_HERE and node is not None and not str(node).startswith("${")
    if here or is_path(node):
        asked.append(key)
        return "???"
    return node


def _is_general(key: str, value: Any) -> bool:
    """Whether an option of a corpus or a split says nothing of single rows."""
    return key in KEPT_LISTS or (key != "where" and not isinstance(value, list | dict))


def is_path(value: Any) -> bool:
    """Whether a value of a configuration is a path of this machine, or holds one."""
    if isinstance(value, list):
        return any(map(is_path, value))
    starts = ("/", "~", "../", "file:")
    return isinstance(value, str) and (value.startswith(starts) or value[1:3] == ":\\")
