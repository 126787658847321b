"""What the checks of one experiment share: its configuration, and what has been built of it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from polymodal.config.partial_resolve import UNRESOLVED
from polymodal.config.provenance import Provenance
from polymodal.diagnostics import Diagnostic, from_error
from polymodal.errors import UserError


@dataclass
class Context:
    """An experiment while it is checked.

    Args:
        config: The configuration as plain types, as far as it is known.
        origins: Where its values were written.
        projects: Packages of the user's project.
        broken: Top-level keys that have an error, so that nothing is built of them.
        built: What has been built: `task`, `scores`, `encoders`, `manifest`, `folds`, ...
        notes: What the user should know beside the findings.
    """

    config: Mapping[str, Any]
    origins: Provenance = field(default_factory=Provenance)
    projects: tuple[str, ...] = ()
    broken: set[str] = field(default_factory=set)
    built: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def is_sound(self, *sections: str) -> bool:
        """Return whether sections are there, are known, and have no error.

        Args:
            sections: Such as `model`.
        """
        return all(
            section in self.config
            and section not in self.broken
            and not has_unknown(self.config[section])
            for section in sections
        )

    def refused(self, error: UserError, section: str, rule: str = "refused option") -> Diagnostic:
        """Return the error of a component as a finding, with the option that it names.

        Args:
            error: The error.
            section: Dotted key of its section.
            rule: As in `Diagnostic`.
        """
        blamed = self._blamed(section, str(error))
        finding = from_error(error, rule, blamed)
        if finding.expected or finding.hint:
            return finding
        remedy = f"correct {blamed}" if blamed != section else f"correct the options of {section}"
        return replace(finding, hint=remedy)

    def _blamed(self, section: str, message: str) -> str:
        """Return the option that a message names; of several the one that was set last."""
        node: Any = self.config
        for word in section.split("."):
            node = node.get(word, {}) if isinstance(node, Mapping) else {}
        options = dict(flatten(node, section)) if isinstance(node, Mapping) else {}
        words_of_message = set(re.findall(r"\w+", message))
        named = [key for key in options if re.split(r"[.\[]", key)[-1] in words_of_message]
        named += [key for key in options if key in message and key not in named]
        if not named:  # then one whose value it quotes
            named = [key for key, value in options.items() if _quotes(message, value)]
        ranked = sorted(named, key=self._rank)
        return ranked[-1] if ranked else section

    def _rank(self, key: str) -> tuple[int, int]:
        if key in self.origins.overrides:
            return (2, 0)
        entry = self.origins.entry(key)
        return (0, 0) if entry is None else (1, entry.layer)


def _quotes(message: str, value: Any) -> bool:
    if isinstance(value, list):
        return any(_quotes(message, item) for item in value)
    if value is None or isinstance(value, bool):
        return False
    return re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", message) is not None


def flatten(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Walk the values of a configuration.

    Yields:
        Dotted key and value; lists are values.

    Example:
        >>> dict(flatten({"a": {"b": 1}, "c": [2]}))
        {'a.b': 1, 'c': [2]}
    """
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from flatten(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def has_unknown(node: Any) -> bool:
    """Return whether a value, or a value in it, is not known."""
    if isinstance(node, Mapping):
        return any(has_unknown(item) for item in node.values())
    if isinstance(node, list):
        return any(has_unknown(item) for item in node)
    return node is UNRESOLVED
