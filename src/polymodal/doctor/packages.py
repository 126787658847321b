"""Installed releases against those that are allowed, tested, withdrawn or dangerous."""

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
OF_THE_DEVELOPERS = "dev"  # an extra that no user needs
Versions = Mapping[str, str]


def tables() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns the dangerous releases, and the sets of releases that the suite was run against."""
    known = json.loads((HERE / "known_releases.json").read_text(encoding="utf-8"))
    tested = json.loads((HERE / "tested_versions.json").read_text(encoding="utf-8"))
    return known, tested


def withdrawn(installed: Versions, known: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Finds releases that were withdrawn, or that should not be used.

    Args:
        installed: Package to release.
        known: As `tables` gives them.

    Yields:
        A fault for each package, by the first entry that fits it.
    """
    said = set()
    for one in known:
        name = one["package"]
        version = _version(installed.get(name))
        if version is None or name in said:
            continue
        if any(
            SpecifierSet(words).contains(version, prereleases=True) for words in one["releases"]
        ):
            said.add(name)
            found = f"{name} {version} {one['why']}"
            yield Line("fault", "packages", found, f"{one['remedy']}; {one['source']}")


def packages(
    installed: Versions, requires: Sequence[str], tested: Mapping[str, Any]
) -> Iterator[Line]:
    """Compares what the pipeline always needs, and those of its extras that are there.

    Args:
        installed: Package to release.
        requires: What the pipeline's own package says that it needs.
        tested: As `tables` gives them.

    Yields:
        A line for each package: a fault where it is missing or not allowed, a warning where no
        release near it has been tested.
    """
    said = set()
    for requirement, extra in _requirements(requires):
        name = canonicalize_name(requirement.name)
        version = _version(installed.get(name))
        if name in said:  # two extras may ask for the same
            continue
        said.add(name)
        if version is None:
            if extra is None:
                remedy = f"pip install '{requirement.name}{requirement.specifier}'"
                yield Line("fault", "packages", f"{name} is missing", remedy)
            continue
        yield _compared(name, version, requirement, tested)


def _compared(
    name: str, version: Version, requirement: Requirement, tested: Mapping[str, Any]
) -> Line:
    releases = sorted(
        Version(one["versions"][name])
        for one in tested.values()
        if one["ok"] and name in one["versions"]
    )
    allowed = f"allowed: {requirement.specifier}" if requirement.specifier else "any is allowed"
    if requirement.specifier and not requirement.specifier.contains(version, prereleases=True):
        remedy = f"pip install '{requirement.name}{requirement.specifier}'"
        return Line("fault", "packages", f"{name} {version} ({allowed})", remedy)
    if not releases:
        remedy = "run `make test` before you trust it"
        return Line("warning", "packages", f"{name} {version}: no release was tested", remedy)
    low, high = releases[0], releases[-1]
    tried = low.public if low == high else f"{low.public} to {high.public}"
    words = f"{name} {version} (tested: {tried})"
    if low.release <= version.release <= high.release:
        return Line("ok", "packages", words)
    remedy = f"what breaks would be new to us; pip install '{name}=={high.public}' is known to work"
    return Line("warning", "packages", words, remedy)


def extras(installed: Versions, requires: Sequence[str]) -> Iterator[Line]:
    """Says which extras are there.

    Args:
        installed: Package to release.
        requires: What the pipeline's own package says that it needs.

    Yields:
        One line for those that are installed, one for those that are not.
    """
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
    """Each with the extra that it belongs to, without tools of development and other platforms."""
    for line in requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        match = re.search(r"extra == ['\"]([^'\"]+)['\"]", line)
        extra = match[1] if match else None
        fits = requirement.marker is None or requirement.marker.evaluate({"extra": extra or ""})
        if fits and extra != OF_THE_DEVELOPERS:
            yield requirement, extra


def _version(text: str | None) -> Version | None:
    try:
        return None if text is None else Version(text)
    except InvalidVersion:
        return None
