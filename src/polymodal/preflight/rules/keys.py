"""Keys: those that nothing reads, that two files set, and those that are missing."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Any

from polymodal.config.compose import CONFIGS, available_choices, top_level_keys
from polymodal.config.files import ConfigFile
from polymodal.config.partial_resolve import UNRESOLVED, Reason
from polymodal.config.provenance import (
    ConfigEntry,
    Provenance,
    SourceLocation,
    read_entries,
)
from polymodal.config.schema import SECTIONS, option_types
from polymodal.config.similar_keys import KnownKeys
from polymodal.diagnostics import Diagnostic
from polymodal.preflight.rules.signatures import matches_type, wrong_type

HEADER = re.compile(r"\s*#\s*@package\b")
SOME_HEADER = re.compile(r"\s*(#\s*@.*)?$")
MAX_TAKERS = 4
MIXED = "key of two files"
# Sections that name what is built, and those that hold several of them.
BUILT = (
    *("corpus", "text", "split", "model", "task", "loss", "optimizer", "scheduler"),
    *("balance", "trainer", "ensemble"),
)
HOLDERS = ("encoder", "callbacks", "scores", "tracker")


def missing_values(reasons: Mapping[str, Reason]) -> Iterator[Diagnostic]:
    """Name every value that must be given, and every interpolation that leads nowhere.

    Args:
        reasons: As `resolve_partially` gives them.

    Yields:
        A finding for each; those that only pass on the fault of another are left out.
    """
    reported: set[str] = set()
    for key, reason in reasons.items():
        if "has no value" in reason.problem:
            hint = f"give it on the command line: {key}=…"
            yield Diagnostic("missing value", key, f"{key} {reason.problem}", hint=hint)
        elif reason.problem not in reported:
            reported.add(reason.problem)
            message = f"{key} {reason.problem}"
            yield Diagnostic("broken interpolation", key, message, hint=reason.hint)


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
        yield _unread(key, KnownKeys({name: config.get(name) for name in expected_keys}), origins)
    for section in SECTIONS:
        if isinstance(config.get(section), Mapping):
            yield from _options(section, config, origins)


def _is_late(group: str, origins: Provenance) -> bool:
    """Whether a file of a group has a package header that Hydra does not read."""
    files = [layer.file for layer in origins.layers if layer.name.startswith(f"{group}/")]
    return any(file is not None and misplaced_package_header(file) is not None for file in files)


def _unread(key: str, known_keys: KnownKeys, origins: Provenance) -> Diagnostic:
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
                    f"{layer.name} is merged below `{layer.package}`, where nothing reads it",
                    "a first line `# @package _global_`",
                    "write that line at the top of the file",
                    origin=SourceLocation(layer.file, 1),
                )
        elif layer.name != group and layer.package != group:
            return Diagnostic(
                "wrong package",
                key,
                f"{layer.name} is merged into `{layer.package or '_global_'}`, which nothing reads",
                f"the options of the group {group} below `{group}`",
                "remove its line `# @package …`",
                origin=SourceLocation(layer.file, _header_line(layer.file)),
            )
    message = f"nothing reads the key {key!r}"
    return Diagnostic("unread key", key, message, hint=known_keys.hint(key))


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


def _options(section: str, config: Mapping[str, Any], origins: Provenance) -> Iterator[Diagnostic]:
    """Compare the options of a section that the program reads itself with its schema."""
    types = option_types(section)
    for name, value in config[section].items():
        key = f"{section}.{name}"
        if name in types:
            if not matches_type(value, types[name]):
                yield wrong_type(key, value, types[name])
        elif key not in origins.interpolated:
            hint = KnownKeys({**config, section: dict.fromkeys(types)}).hint(key)
            yield Diagnostic("unread key", key, f"nothing reads {key}", hint=hint)


def not_mappings(config: Mapping[str, Any]) -> list[str]:
    """Return the sections that are single values or lists, and hold no options."""
    sections = (*BUILT, *HOLDERS, *SECTIONS)
    return [
        name
        for name in sections
        if name in config and config[name] is not None and not isinstance(config[name], Mapping)
    ]


def sections_without_options(config: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Find sections that are a single value or a list."""
    for name in not_mappings(config):
        if config[name] is not UNRESOLVED:
            yield Diagnostic(
                "no section",
                name,
                f"{name}={config[name]!r} is not a section",
                f"the options of {name}, each with its value",
                f"write the options below {name}, or choose an option of the group {name}",
            )


def explained_strays(
    findings: Iterable[Diagnostic], origins: Provenance, projects: Sequence[str]
) -> Iterator[Diagnostic]:
    """Explain unknown options that a file sets for another option of their group.

    Args:
        findings: Those of the signatures.
        origins: Where the values of the configuration were written.
        projects: Packages of the user's project.

    Yields:
        The findings, those of such options with what takes them out.
    """
    for finding in findings:
        entry = origins.entry(finding.key) if finding.rule == "unknown option" else None
        group = finding.key.partition(".")[0]
        layer = origins.layers[entry.layer] if entry is not None else None
        if layer is None or layer.package == group:
            yield finding
            continue
        takers = _takers(group, finding.key.rpartition(".")[2], projects)
        if not takers:
            yield finding
            continue
        target = origins.choices.get(group) or _chosen_in_files(group, origins)
        yield replace(
            finding,
            message=f"{layer.name} sets {finding.key}, which {target} does not take",
            expected=f"an option of {', '.join(takers[:MAX_TAKERS])}"
            f"{', …' * (len(takers) > MAX_TAKERS)}",
            hint=f"to leave it out, add ~{finding.key}",
        )


def _chosen_in_files(group: str, origins: Provenance) -> str:
    names = [layer.name for layer in origins.layers if layer.package == group]
    return names[-1].replace("/", "=", 1) if names else f"the section {group}"


def _takers(group: str, name: str, projects: Sequence[str]) -> list[str]:
    """The options of a group that set a key of that name, or whose constructors take it."""
    result = []
    for choice in available_choices(group):
        files = (folder / group / f"{choice}.yaml" for folder in (CONFIGS, Path.cwd() / "configs"))
        entries = read_entries(next(file for file in files if file.is_file()))
        names = {entry.key.rpartition(".")[2] for entry in entries if entry.kind == "value"}
        for entry in entries:
            if _names_target(entry):
                names.update(KnownKeys({group: {"_target_": entry.text}}, projects).options(group))
        if name in names:
            result.append(choice)
    return result


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
        if section is UNRESOLVED or key in not_mappings(config):
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
