"""Where each value of a configuration was written: a line of a file, or the command line."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from polymodal.config.compose import CONFIGS, ComposedConfig
from polymodal.config.files import ConfigFile

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
INTERPOLATED = re.compile(r"\$\{([A-Za-z_][\w.\[\]]*)\}")
MAX_ENTRIES = 100_000  # aliases can make a small file endless


@dataclass(frozen=True)
class SourceLocation:
    """Where something was written.

    Args:
        file: The file; None for the command line.
        line: Its line, from 1; None where only the file is known.
        override: The override on the command line.
    """

    file: Path | None = None
    line: int | None = None
    override: str | None = None

    def __str__(self) -> str:
        if self.file is None:
            return f"the command line ({self.override})"
        here = Path.cwd()
        shown = self.file.relative_to(here) if self.file.is_relative_to(here) else self.file
        return f"{shown}:{self.line}" if self.line else str(shown)

    @property
    def by_user(self) -> bool:
        """Whether the user wrote it, not we."""
        return self.file is None or not self.file.is_relative_to(CONFIGS)


@dataclass(frozen=True)
class ConfigEntry:
    """A key, a value or an item of a list, as it is written.

    Args:
        key: The dotted key of the whole configuration.
        origin: Where it was written.
        layer: Number of the file in the order of merging.
        kind: `key`, `value` or `item`.
        text: The scalar as it is written; None for a mapping or a list.
        plain: Whether it is written without quotation marks.
        tag: What YAML takes it for: `int`, `bool`, `str`, ...
    """

    key: str
    origin: SourceLocation
    layer: int
    kind: Literal["key", "value", "item"]
    text: str | None = None
    plain: bool = False
    tag: str = ""


@dataclass(frozen=True)
class Provenance:
    """Where the values of a configuration were written.

    Args:
        layers: The files, in the order of merging.
        entries: Their entries, in the same order.
        overrides: Dotted key to the override of the command line that sets it.
        choices: Group to the override that chooses its option.
    """

    layers: tuple[ConfigFile, ...] = ()
    entries: tuple[ConfigEntry, ...] = ()
    overrides: dict[str, str] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)

    def find(self, key: str) -> SourceLocation | None:
        """Return where a value was written last.

        Args:
            key: Its dotted key; where it is not written itself, what it belongs to is looked for.

        Returns:
            The place, or None where no file and no override sets it. A value that is taken over
            from another one (`${task.monitor}`) leads to that one where the user has set it.
        """
        if key in self.choices:
            return SourceLocation(override=self.choices[key])
        for above in _upwards(key):
            override = self.overrides.get(f"{above}._target_") or self.overrides.get(above)
            if override is not None:
                return SourceLocation(override=override)
            if above == key and (entry := self._last.get(key)) is not None:
                return self._followed(entry, {key})
            if entry := self._last.get(f"{above}._target_") or self._last.get(above):
                return entry.origin
        return None

    def entry(self, key: str) -> ConfigEntry | None:
        """Return the entry of the last file that sets a value; None for an override."""
        return None if key in self.overrides else self._last.get(key)

    def all(self, key: str) -> list[ConfigEntry]:
        """Return every entry of a value, in the order of merging."""
        return [entry for entry in self.entries if entry.key == key and entry.kind != "key"]

    @cached_property
    def _last(self) -> dict[str, ConfigEntry]:
        return {entry.key: entry for entry in self.entries if entry.kind != "key"}

    @cached_property
    def interpolated(self) -> frozenset[str]:
        """Keys that some value takes over (`${corpus.classes}`), and all that they are part of."""
        texts = [entry.text or "" for entry in self.entries] + list(self.overrides.values())
        keys = {key for text in texts for key in INTERPOLATED.findall(text)}
        return frozenset(above for key in keys for above in _upwards(key))

    def _followed(self, entry: ConfigEntry, seen: set[str]) -> SourceLocation:
        """Where the value comes from that an entry takes over, if the user has set that."""
        keys = [key for key in INTERPOLATED.findall(entry.text or "") if key not in seen]
        for key in keys:
            if key in self.overrides:
                return SourceLocation(override=self.overrides[key])
            if (other := self._last.get(key)) is not None:
                origin = self._followed(other, {*seen, key})
                if origin.by_user:
                    return origin
        return entry.origin


def provenance_of(composed: ComposedConfig) -> Provenance:
    """Read the files of a composition again, with their lines.

    Returns:
        Where its values were written; empty for a configuration that was read from a run.
    """
    layers = tuple(layer for layer in composed.layers if layer.file and layer.package != "hydra")
    entries: list[ConfigEntry] = []
    for number, layer in enumerate(layers):
        assert layer.file is not None
        entries += read_entries(layer.file, layer.package, number)
    return Provenance(layers, tuple(entries), *_overridden(composed.overrides))


def read_entries(file: Path, package: str = "", layer: int = 0) -> list[ConfigEntry]:
    """Read a file of configuration with the lines of everything in it.

    Args:
        file: The file.
        package: The key below which it lands.
        layer: Number of the file in the order of merging.

    Returns:
        Its keys, values and items, without the defaults list.

    Raises:
        yaml.YAMLError: It is not YAML.
        UnicodeDecodeError: It is not UTF-8.
    """
    node = yaml.compose(file.read_text(encoding="utf-8"), Loader=LOADER)
    entries: list[ConfigEntry] = []
    for entry in _walk(node, package, file, layer, frozenset()):
        if not package and (entry.key == "defaults" or entry.key.startswith("defaults[")):
            continue
        if package and entry.key.startswith(f"{package}.defaults"):
            continue
        entries.append(entry)
        if len(entries) >= MAX_ENTRIES:
            break
    return entries


def _walk(
    node: yaml.Node | None, key: str, file: Path, layer: int, above: frozenset[int]
) -> Iterator[ConfigEntry]:
    if node is None or id(node) in above:
        return
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            merged = name.tag == "tag:yaml.org,2002:merge"
            word = str(getattr(name, "value", ""))
            below = key if merged else f"{key}.{word}" if key else word
            if not merged:
                yield _entry(name, below, file, layer, "key")
                line = SourceLocation(file, name.start_mark.line + 1)
                if not isinstance(value, yaml.ScalarNode):
                    yield ConfigEntry(below, line, layer, "value")
                else:
                    yield _entry(value, below, file, layer, "value")
            if not isinstance(value, yaml.ScalarNode):
                yield from _walk(value, below, file, layer, above | {id(node)})
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            here = f"{key}[{index}]"
            yield _entry(item, here, file, layer, "item")
            if not isinstance(item, yaml.ScalarNode):
                yield from _walk(item, here, file, layer, above | {id(node)})


def _entry(
    node: yaml.Node, key: str, file: Path, layer: int, kind: Literal["key", "value", "item"]
) -> ConfigEntry:
    origin = SourceLocation(file, node.start_mark.line + 1)
    if not isinstance(node, yaml.ScalarNode):
        return ConfigEntry(key, origin, layer, kind)
    tag = node.tag.rpartition(":")[2]
    return ConfigEntry(key, origin, layer, kind, str(node.value), not node.style, tag)


def _overridden(overrides: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Dotted key to the override that sets it, and group to the one that chooses its option."""
    values: dict[str, str] = {}
    choices: dict[str, str] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        key = key.lstrip("+~").partition("@")[0]
        deletes = override.startswith("~") or value.strip() == "null"
        chooses = "." not in key and not deletes and _is_group(key)
        (choices if chooses else values)[key] = override
    return values, choices


def _is_group(key: str) -> bool:
    return any((folder / key).is_dir() for folder in (CONFIGS, Path.cwd() / "configs"))


def _upwards(key: str) -> Iterable[str]:
    """A dotted key, and every key that it belongs to."""
    yield key
    while (end := max(key.rfind("."), key.rfind("["))) > 0:
        key = key[:end]
        yield key
