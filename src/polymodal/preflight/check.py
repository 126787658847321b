"""Checks an experiment before anything is spent on it: all that is wrong, at once."""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from polymodal.config.compose import Composed, project_packages
from polymodal.config.partial_resolve import as_far_as_known
from polymodal.config.provenance import Origins, origins_of
from polymodal.diagnostics import Finding, located
from polymodal.errors import ConfigError
from polymodal.preflight.compose_all import compose_all
from polymodal.preflight.context import Context
from polymodal.preflight.dry_run import rehearsal
from polymodal.preflight.rules import keys
from polymodal.preflight.rules.components import construction
from polymodal.preflight.rules.consistency import cross_field
from polymodal.preflight.rules.data import data
from polymodal.preflight.rules.no_op import effects
from polymodal.preflight.rules.signatures import signature_findings, takes_boolean
from polymodal.preflight.rules.yaml_pitfalls import changed_values


@dataclass
class Report:
    """What a check found.

    Args:
        findings: Fatal ones first.
        notes: What the user should know beside them.
        seconds: Part of the check to the seconds that it took.
        estimates: What the rehearsal has measured, by name.
        parts: Of several runs that were checked together, the report of each.
    """

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    estimates: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, "Report"] = field(default_factory=dict)

    @property
    def fatal(self) -> list[Finding]:
        """The findings with which nothing should be started."""
        return [one for one in self.findings if one.is_fatal]

    def add(self, findings: Iterable[Finding], origins: Origins) -> None:
        """Adds findings with where they were written, each once, the fatal ones first.

        Args:
            findings: The findings.
            origins: Where the values of the configuration were written.
        """
        known = {(one.key, one.found) for one in self.findings}
        for one in located(findings, origins):
            if (one.key, one.found) not in known:
                known.add((one.key, one.found))
                self.findings.append(one)
        self.findings.sort(key=lambda one: not one.is_fatal)

    def to_json(self) -> dict[str, Any]:
        """Returns the report as plain values."""
        return {
            "ok": not self.fatal,
            "fatal": len(self.fatal),
            "warnings": len(self.findings) - len(self.fatal),
            "findings": [one.to_json() for one in self.findings],
            "notes": self.notes,
            "estimates": self.estimates,
            "seconds": {name: round(one, 3) for name, one in self.seconds.items()},
            **(
                {"parts": {k: one.to_json() for k, one in self.parts.items()}} if self.parts else {}
            ),
        }

    @contextmanager
    def timed(self, part: str) -> Generator[None]:
        """Adds how long a part of the check takes.

        Args:
            part: Its name.
        """
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[part] = self.seconds.get(part, 0.0) + spent


def check_fast(composed: Composed, report: Report) -> Context:
    """Checks all that needs no data: keys, values, targets, and what must fit together.

    Args:
        composed: The configuration.
        report: Gets the findings.

    Returns:
        The experiment, its parts built as far as possible.
    """
    origins = origins_of(composed)
    config, reasons = as_far_as_known(composed.config)
    context = Context(config, origins, project_packages(Path.cwd()))
    with report.timed("keys"):
        report.add(keys.missing_values(reasons), origins)
        report.add(_key_checks(config, origins), origins)
    with report.timed("targets"):
        mixed = tuple(f"{one.key}." for one in report.findings if one.rule == keys.MIXED)
        found = signature_findings(config, context.projects)
        report.add((one for one in found if not one.key.startswith(mixed)), origins)
        is_boolean = partial(takes_boolean, config, projects=context.projects)
        report.add(changed_values(origins.entries, is_boolean), origins)
    context.broken |= {_section(one.key) for one in report.fatal}
    with report.timed("fields"):
        report.add(construction(context), origins)
        report.add(cross_field(context), origins)
    context.broken |= {_section(one.key) for one in report.fatal}
    return context


def check_all(
    overrides: Sequence[str], *, full: bool = False, with_effects: bool = False
) -> Report:
    """Checks all that can be known of a run before anything is spent on it.

    Args:
        overrides: In Hydra's grammar.
        full: Whether every file of the corpus is opened, not a sample.
        with_effects: Whether options are changed one by one, to find those without effect.

    Returns:
        What was found, how long each part took, and what the training will cost.
    """
    report = Report()
    composed = compose_into(report, overrides)
    if composed is not None:
        check_whole(composed, report, full=full, with_effects=with_effects)
    return report


def compose_into(
    report: Report, overrides: Sequence[str], *, config_name: str = "run"
) -> Composed | None:
    """Composes a configuration, leaving out overrides that cannot be used.

    Args:
        report: Gets a finding for each of those.
        overrides: In Hydra's grammar.
        config_name: Which root.

    Returns:
        The configuration; None where it cannot be composed at all.
    """
    with report.timed("compose"):
        composed, faults = compose_all(overrides, config_name=config_name)
    report.add(faults, Origins())
    if composed is None:
        report.notes.append("nothing else was checked: the configuration cannot be composed")
    return composed


def check_whole(
    composed: Composed, report: Report, *, full: bool = False, with_effects: bool = False
) -> Context:
    """Checks a configuration, its data, and a batch of noise through its model.

    Args:
        composed: The configuration.
        report: Gets the findings, notes and estimates.
        full: As of `check_all`.
        with_effects: As of `check_all`.

    Returns:
        The experiment, its parts built as far as possible.
    """
    context = check_fast(composed, report)
    with report.timed("data"):
        report.add(data(context, full=full), context.origins)
    with report.timed("rehearsal"):
        findings, report.estimates = rehearsal(context)
        report.add(findings, context.origins)
    if with_effects:
        with report.timed("effects"):
            report.add(effects(context), context.origins)
    report.notes += context.notes
    return context


def refuse(report: Report) -> None:
    """Ends a command that would start something, where something fatal was found.

    Args:
        report: What was found.

    Raises:
        ConfigError: With all fatal findings.
    """
    if report.fatal:
        raise ConfigError("\n".join(one.text() for one in report.fatal))


def _key_checks(config: dict[str, Any], origins: Origins) -> Iterator[Finding]:
    yield from keys.unread_keys(config, origins)
    yield from keys.sections_without_target(config, origins)
    yield from keys.unread_headers(origins)
    yield from keys.keys_of_two_files(origins)
    yield from keys.hidden_files(origins, Path.cwd())
    yield from keys.lost_values(origins)


def _section(key: str) -> str:
    return key.partition(".")[0].partition("[")[0]
