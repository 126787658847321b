"""Compare installed releases with those that are allowed, tested, withdrawn or vulnerable."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from polymodal.doctor.line import Line

HERE = Path(__file__).parent
DEVELOPMENT_EXTRA = "dev"  # no user needs it
Versions = Mapping[str, str]


def tables() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the vulnerable releases, and the releases that the tests were run with."""
    dangerous = json.loads((HERE / "known_releases.json").read_text(encoding="utf-8"))
    tested = json.loads((HERE / "tested_versions.json").read_text(encoding="utf-8"))
    return dangerous, tested


def withdrawn(installed: Versions, dangerous: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Yield a fault for each package whose release was withdrawn or is vulnerable."""
    reported = set()
    for entry in dangerous:
        name = entry["package"]
        version = _version(installed.get(name))
        if version is None or name in reported:
            continue
        ranges = map(SpecifierSet, entry["releases"])
        if any(specifiers.contains(version, prereleases=True) for specifiers in ranges):
            reported.add(name)
            message = f"{name} {version} {entry['why']}"
            yield Line("fault", "packages", message, f"{entry['remedy']}; {entry['source']}")


def packages(
    installed: Versions, requires: Sequence[str], tested: Mapping[str, Any]
) -> Iterator[Line]:
    """Compare required and optional packages with the allowed and tested releases."""
    reported = set()
    for requirement, extra in _requirements(requires):
        name = canonicalize_name(requirement.name)
        version = _version(installed.get(name))
        if name in reported:  # two extras may require the same
            continue
        reported.add(name)
        if version is None:
            if extra is None:
                hint = f"pip install '{requirement.name}{requirement.specifier}'"
                yield Line("fault", "packages", f"{name} is missing", hint)
            continue
        yield _compared(name, version, requirement, tested)


def _compared(
    name: str, version: Version, requirement: Requirement, tested: Mapping[str, Any]
) -> Line:
    releases = sorted(
        Version(test_run["versions"][name])
        for test_run in tested.values()
        if test_run["ok"] and name in test_run["versions"]
    )
    allowed = f"allowed: {requirement.specifier}" if requirement.specifier else "any is allowed"
    if requirement.specifier and not requirement.specifier.contains(version, prereleases=True):
        hint = f"pip install '{requirement.name}{requirement.specifier}'"
        return Line("fault", "packages", f"{name} {version} ({allowed})", hint)
    if not releases:
        hint = "run `make test` before you trust it"
        return Line("warning", "packages", f"{name} {version}: no release was tested", hint)
    low, high = releases[0], releases[-1]
    tried = low.public if low == high else f"{low.public} to {high.public}"
    message = f"{name} {version} (tested: {tried})"
    if low.release <= version.release <= high.release:
        return Line("ok", "packages", message)
    hint = f"what breaks would be new to us; pip install '{name}=={high.public}' is known to work"
    return Line("warning", "packages", message, hint)


def extras(installed: Versions, requires: Sequence[str]) -> Iterator[Line]:
    """List the installed and the missing extras."""
    needed: dict[str, list[str]] = {}
    for requirement, extra in _requirements(requires):
        if extra is not None:
            needed.setdefault(extra, []).append(canonicalize_name(requirement.name))
    missing = [extra for extra, names in needed.items() if not set(names) <= set(installed)]
    there = sorted(set(needed) - set(missing))
    if there:
        yield Line("ok", "extras", f"installed: {', '.join(there)}")
    if missing:
        example = f"pip install 'polymodal[{sorted(missing)[0]}]'"
        yield Line("ok", "extras", f"not installed: {', '.join(sorted(missing))} ({example})")


def _requirements(requires: Sequence[str]) -> Iterator[tuple[Requirement, str | None]]:
    """Yield requirements for this platform with their extra, without the development tools."""
    for line in requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        match = re.search(r"extra == ['\"]([^'\"]+)['\"]", line)
        extra = match[1] if match else None
        fits = requirement.marker is None or requirement.marker.evaluate({"extra": extra or ""})
        if fits and extra != DEVELOPMENT_EXTRA:
            yield requirement, extra


def _version(text: str | None) -> Version | None:
    try:
        return None if text is None else Version(text)
    except InvalidVersion:
        return None
