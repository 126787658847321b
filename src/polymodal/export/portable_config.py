"""Make a configuration portable: without local paths and names of corpus rows."""

from typing import Any

import yaml

from polymodal.tracking.redaction import redact

# Sections with local paths or accounts, and sections that name rows of a corpus.
EXCLUDED_SECTIONS = ("paths", "tracker", "alert", "resume", "resume_state", "hydra")
ROW_SECTIONS = ("corpus", "split")
LOCAL_KEYS = ("corpus.root", "corpus.file", "corpus.speaker", "corpus.prepared", "split.file")
GENERAL_LISTS = ("classes", "values", "labels", "groups", "disjoint")


def portable(text: str) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration in YAML without local paths and names of corpus rows.

    Interpolations stay unresolved. Also returns the keys of paths, whose values are `???` and must
    be set on loading.
    """
    config = redact(yaml.safe_load(text))
    sections = {key: node for key, node in config.items() if key not in EXCLUDED_SECTIONS}
    for section in ROW_SECTIONS:
        if isinstance(options := sections.get(section), dict):
            sections[section] = {
                key: option for key, option in options.items() if _is_general(key, option)
            }
    path_keys: list[str] = []
    return {key: without_paths(node, key, path_keys) for key, node in sections.items()}, path_keys


def without_paths(node: Any, key: str, path_keys: list[str]) -> Any:
    """Return a node of a configuration with local paths replaced by `???`.

    `key` is its dotted key; `path_keys` is extended by the keys of replaced paths.
    """
    if isinstance(node, dict):
        return {k: without_paths(value, f"{key}.{k}", path_keys) for k, value in node.items()}
    is_local = key in LOCAL_KEYS and node is not None and not str(node).startswith("${")
    if is_local or is_path(node):
        path_keys.append(key)
        return "???"
    return node


def _is_general(key: str, value: Any) -> bool:
    """Return whether an option of a corpus or a split does not refer to single rows."""
    return key in GENERAL_LISTS or (key != "where" and not isinstance(value, list | dict))


def is_path(value: Any) -> bool:
    """Return whether a value of a configuration is or contains a local path."""
    if isinstance(value, list):
        return any(map(is_path, value))
    starts = ("/", "~", "../", "file:")
    return isinstance(value, str) and (value.startswith(starts) or value[1:3] == ":\\")
