"""Compose a configuration despite invalid overrides, and report all of them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from polymodal.config.compose import CONFIGS, ComposedConfig, compose
from polymodal.config.override_grammar import OverrideError
from polymodal.config.provenance import SourceLocation
from polymodal.config.resume import compose_run
from polymodal.diagnostics import Diagnostic, from_error
from polymodal.errors import ConfigError, UnreadableConfigError
from polymodal.preflight.rules.yaml_pitfalls import unreadable, without_keys
from polymodal.upgrade.removed import removed_from


def compose_all(
    overrides: Sequence[str], *, config_name: str = "run", project: Path | None = None
) -> tuple[ComposedConfig | None, list[Diagnostic]]:
    """Compose a configuration, leaving out overrides that cannot be used.

    Args:
        overrides: In Hydra's grammar.
        config_name: Which root.
        project: Folder that may have a `configs/`; the current one by default.

    Returns:
        The configuration, None if it cannot be composed at all; and the findings.
    """
    findings: list[Diagnostic] = []
    remaining = list(overrides)
    while True:
        try:
            composed = _compose(remaining, config_name, project)
        except ConfigError as error:
            index = _culprit(remaining, error, config_name, project)
            if index is None:
                return None, [*findings, *_in_files(error, project or Path.cwd())]
            key = remaining[index].partition("=")[0].lstrip("+~")
            origin = SourceLocation(override=remaining.pop(index))
            findings.append(from_error(error, "unusable override", key, origin))
        else:
            return composed, [_removed(finding, composed) for finding in findings]


def _compose(overrides: Sequence[str], config_name: str, project: Path | None) -> ComposedConfig:
    if config_name == "run":
        return compose_run(overrides, project=project)
    return compose(overrides, config_name=config_name, project=project)


def _removed(finding: Diagnostic, composed: ComposedConfig) -> Diagnostic:
    """The finding; of an option that a library has taken away with what to write instead."""
    section, _, name = finding.key.rpartition(".")
    target = str(composed.value(f"{section}._target_")) if section else ""
    removed = removed_from(target, name)
    if removed is None:
        return finding
    message = f"{finding.key} is unknown to {target}: {removed.since}"
    return replace(finding, rule="removed option", message=message, hint=removed.replacement)


def _culprit(
    overrides: Sequence[str], error: ConfigError, config_name: str, project: Path | None
) -> int | None:
    """The override without which another error comes, or none; the last ones first."""
    if isinstance(error, OverrideError) and error.override in overrides:
        return list(overrides).index(error.override)
    if _is_of_files(error) or not any(
        _quoted(error)[-1:] and _quoted(error)[-1] in override for override in overrides
    ):
        return None
    likely = sorted(
        range(len(overrides)), key=lambda index: (_named(overrides[index], error), index)
    )
    for index in reversed(likely):
        others = [override for number, override in enumerate(overrides) if number != index]
        try:
            _compose(others, config_name, project)
        except ConfigError as other:
            if other.message != error.message and not _is_of_files(other):
                return index
            continue
        return index
    return None


def _named(override: str, error: ConfigError) -> bool:
    key, _, value = override.partition("=")
    return key.lstrip("+~") in error.message or bool(value and value in error.message)


def _is_of_files(error: ConfigError) -> bool:
    return isinstance(error, UnreadableConfigError)


def _quoted(error: ConfigError) -> list[str]:
    """What an error quotes."""
    return re.findall(r"'([^']+)'", error.message)


def _in_files(error: ConfigError, project: Path) -> list[Diagnostic]:
    """Find the files of the project that cannot be read, or the line of the invalid default."""
    files = sorted((project / "configs").rglob("*.yaml"))
    if _is_of_files(error):
        findings = list(unreadable(files))
    else:
        names = {file: file.relative_to(project / "configs").as_posix() for file in files}
        findings = list(without_keys(file for file in files if names[file] in error.message))
    return findings or [from_error(error, "composition", "defaults", _line_of(error, files))]


def _line_of(error: ConfigError, files: Sequence[Path]) -> SourceLocation | None:
    """Return the line of a defaults list that has everything a Hydra error quotes."""
    every = (*files, *sorted(CONFIGS.rglob("*.yaml")))
    names = {file.relative_to(file.parents[1]).with_suffix("").as_posix() for file in every}
    names_in_error = [
        name for word in _quoted(error) if word not in names for name in word.split("/")
    ]
    for file in every:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            if names_in_error and all(name in line for name in names_in_error):
                return SourceLocation(file, number)
    return None
