"""Keys: those that nobody reads, that two files set, and those that are missing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Any

from polymodal.config.compose import top_level_keys
from polymodal.config.files import ConfigFile
from polymodal.config.partial_resolve import UNRESOLVED
from polymodal.config.provenance import ConfigEntry, Provenance, SourceLocation
from polymodal.config.schema import SECTIONS, option_types
from polymodal.diagnostics import Diagnostic
from polymodal.errors import nearest
from polymodal.preflight.rules.signatures import matches_type, wrong_type

HEADER = re.compile(r"\s*#\s*@package\b")
SOME_HEADER = re.compile(r"\s*(#\s*@.*)?$")
MIXED = "key of two files"
# Sections that name what is built, and those that hold several of them.
BUILT = (
    *("corpus", "text", "split", "model", "task", "loss", "optimizer", "scheduler"),
    *("balance", "trainer", "ensemble"),
)
HOLDERS = ("encoder", "callbacks", "scores", "tracker")


def missing_values(reasons: Mapping[str, str]) -> Iterator[Diagnostic]:
    """Name every value that must be given, and every interpolation that leads nowhere.

    Args:
        reasons: As `resolve_partially` gives them.

    Yields:
        A finding for each; those that only pass on the fault of another are left out.
    """
    reported: set[str] = set()
    for key, reason in reasons.items():
        problem = reason.removeprefix(key)
        if "has no value" in problem:
            hint = f"give it on the command line: {key}=…"
            yield Diagnostic("missing value", key, reason, hint=hint)
        elif problem not in reported:
            reported.add(problem)
            yield Diagnostic("broken interpolation", key, reason)


def unread_keys(config: Mapping[str, Any], origins: Provenance) -> Iterator[Diagnostic]:
    """Find keys that nothing reads: beside the groups, or within the sections that we read."""
    root = next(
        (layer.name for layer in origins.layers if not layer.package and layer.parent == "<root>"),
        "run",
    )
    expected_keys = top_level_keys(root)
    for key, value in config.items():
        if key in expected_keys or (
            key in origins.interpolated and key not in ("experiment", "debug")
        ):
            continue
        if key in ("experiment", "debug") and (not value or _is_late(key, origins)):
            continue
        yield _unread(key, expected_keys, origins)
    for section in SECTIONS:
        if isinstance(config.get(section), Mapping):
            yield from _options(section, config[section], origins)


def _is_late(group: str, origins: Provenance) -> bool:
    """Whether a file of a group has a package header that Hydra does not read."""
    files = [layer.file for layer in origins.layers if layer.name.startswith(f"{group}/")]
    return any(file is not None and misplaced_package_header(file) is not None for file in files)


def _unread(key: str, keys: Sequence[str], origins: Provenance) -> Diagnostic:
    """A key beside the groups; of a file with a wrong package header if one puts it there."""
    entry = next(
        (entry for entry in origins.entries if entry.key.split(".")[0].split("[")[0] == key), None
    )
    layer = origins.layers[entry.layer] if entry else None
    if entry is not None and layer is not None and layer.file is not None:
        group = layer.name.split("/")[0]
        if group in ("experiment", "debug"):
            if layer.package:
                return Diagnostic(
                    "wrong package",
                    key,
                    f"{layer.name} lands below `{layer.package}`, where nobody reads it",
                    "a first line `# @package _global_`",
                    "write that line at the top of the file",
                    origin=SourceLocation(layer.file, 1),
                )
        elif layer.name != group and layer.package != group:
            return Diagnostic(
                "wrong package",
                key,
                f"{layer.name} lands in `{layer.package or '_global_'}`, where nobody reads it",
                f"the options of the group {group} below `{group}`",
                "take out its line `# @package …`",
                origin=SourceLocation(layer.file, _header_line(layer.file)),
            )
    return Diagnostic("unread key", key, f"nothing reads the key {key!r}", hint=nearest(key, keys))


def unread_headers(origins: Provenance) -> Iterator[Diagnostic]:
    """Find lines `# @package …` that Hydra does not read, as another comment stands before them.

    Args:
        origins: Where the values of the configuration were written.
    """
    for layer in origins.layers:
        line = None if layer.file is None else misplaced_package_header(layer.file)
        if line is not None:
            yield Diagnostic(
                "wrong package",
                layer.package or layer.name,
                f"{layer.name}: Hydra does not read its line `# @package …`",
                "it before any other comment",
                "move it to the top of the file",
                origin=SourceLocation(layer.file, line),
            )


def misplaced_package_header(file: Path) -> int | None:
    """Return the line of a `# @package …` that stands below another comment.

    Returns:
        The line; None where there is none, or Hydra reads it.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    index = next((n for n, line in enumerate(lines) if HEADER.match(line)), 0)
    return None if all(map(SOME_HEADER.match, lines[:index])) else index + 1


def _header_line(file: Path) -> int:
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((n for n, line in enumerate(lines, 1) if "@package" in line), 1)


def _options(section: str, values: Mapping[str, Any], origins: Provenance) -> Iterator[Diagnostic]:
    """Compare the options of a section that the program reads itself with its schema."""
    types = option_types(section)
    for name, value in values.items():
        key = f"{section}.{name}"
        if name in types:
            if not matches_type(value, types[name]):
                yield wrong_type(key, value, types[name])
        elif key not in origins.interpolated:
            yield Diagnostic("unread key", key, f"nothing reads {key}", hint=nearest(name, types))


def sections_without_target(config: Mapping[str, Any], origins: Provenance) -> Iterator[Diagnostic]:
    """Find sections that do not say what they build."""
    several = {section_name: config.get(section_name) or {} for section_name in HOLDERS}
    held = {
        f"{section_name}.{name}": value
        for section_name, section in several.items()
        for name, value in ({} if "_target_" in section else section).items()
    }
    built = {section_name: config[section_name] for section_name in BUILT if section_name in config}
    for key, section in {**built, **held}.items():
        if section is None and (key.startswith("callbacks.")):
            continue
        if isinstance(section, Mapping) and "_target_" in section:
            continue
        if section is UNRESOLVED:
            continue
        names = list(section) if isinstance(section, Mapping) else []
        near = get_close_matches("_target_", [str(name) for name in names], n=1)
        message = f"{key} does not say what it is: it has no `_target_`"
        hint = (
            f"write _target_ instead of {near[0]}"
            if near
            else ("choose an option of the group, or give the dotted path of a class as _target_")
        )
        yield Diagnostic("no target", f"{key}.{near[0]}" if near else key, message, hint=hint)


def conflicting_keys(origins: Provenance) -> Iterator[Diagnostic]:
    """Find options of one list (`encoder: [a, b]`) that set the same key, and so mix.

    Args:
        origins: Where the values of the configuration were written.

    Yields:
        One finding for each pair of files.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for number, layer in enumerate(origins.layers):
        group = layer.name.split("/")[0]
        if layer.parent in ("run", "study", "vote", "corpus") and layer.package == group:
            groups.setdefault((layer.parent, group), []).append(number)
    for (_, group), numbers in groups.items():
        for first, second in combinations(numbers, 2):
            yield from _shared(group, first, second, origins)


def _shared(group: str, first: int, second: int, origins: Provenance) -> Iterator[Diagnostic]:
    targets = {
        entry.key: entry
        for entry in origins.entries
        if entry.layer == first and _names_target(entry)
    }
    for entry in origins.entries:
        if entry.layer == second and entry.key in targets:
            key = entry.key.removesuffix("._target_")
            names = f"{origins.layers[first].name} and {origins.layers[second].name}"
            yield Diagnostic(
                MIXED,
                key,
                f"{names} both set {key}: the options of both are mixed",
                hint=f"choose one of them, or give one another name in its file of {group}/",
                origin=entry.origin,
            )


def _names_target(entry: ConfigEntry) -> bool:
    return entry.kind == "value" and entry.key.endswith("._target_")


def shadowed_files(origins: Provenance, project: Path) -> Iterator[Diagnostic]:
    """Find files of the project that are never read, as ours of the same name comes first.

    Args:
        origins: Where the values of the configuration were written.
        project: The folder with `configs/`.

    Yields:
        One finding a file that this configuration names.
    """
    for layer in origins.layers:
        twin = project / "configs" / f"{layer.name}.yaml"
        if layer.file is not None and layer.file != twin and twin.is_file():
            if layer.file.resolve() == twin.resolve():
                continue
            yield Diagnostic(
                "hidden file",
                layer.package or layer.name,
                f"{layer.name}.yaml of the project is not read: polymodal has one of that name",
                hint="give it another name",
                origin=SourceLocation(twin),
            )


def overridden_values(origins: Provenance) -> Iterator[Diagnostic]:
    """Find values of a file that the files it is based on overwrite, as its `_self_` comes first.

    Args:
        origins: Where the values of the configuration were written.

    Yields:
        One finding for each value of the user that has no effect.
    """
    index_of = {layer.name: number for number, layer in enumerate(origins.layers)}
    final = {entry.key: entry for entry in origins.entries if entry.kind == "value"}
    for entry in origins.entries:
        last = final.get(entry.key, entry)
        if entry.kind != "value" or entry.text is None or last.layer <= entry.layer:
            continue
        layer, last_layer = origins.layers[entry.layer], origins.layers[last.layer]
        if _includes(layer.name, last_layer, origins.layers, index_of) and entry.text != last.text:
            yield Diagnostic(
                "no effect",
                entry.key,
                f"{entry.key}={entry.text} has no effect: {last_layer.name}, which this file "
                f"is based on, sets it to {last.text} afterwards",
                hint="put `_self_` at the end of the defaults list",
                severity="warning",
                origin=entry.origin,
            )


def _includes(
    name: str, layer: ConfigFile, layers: Sequence[ConfigFile], index_of: Mapping[str, int]
) -> bool:
    """Whether a file names another one in its defaults list, itself or through others."""
    parent = layer.parent
    for _ in layers:
        if parent == name:
            return layer.name != name and name.split("/")[0] in ("experiment", "debug")
        if parent not in index_of:
            return False
        parent = layers[index_of[parent]].parent
    return False
