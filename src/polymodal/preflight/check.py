"""Checks an experiment before anything is spent on it: all that is wrong, at once."""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from polymodal.config.compose import ComposedConfig, project_packages
from polymodal.config.partial_resolve import resolve_partially
from polymodal.config.provenance import Provenance, SourceLocation, provenance_of
from polymodal.diagnostics import Diagnostic, with_location
from polymodal.errors import ConfigError
from polymodal.preflight.compose_all import compose_all
from polymodal.preflight.context import Context
from polymodal.preflight.dry_run import check_dry_run
from polymodal.preflight.rules import keys
from polymodal.preflight.rules.components import check_components
from polymodal.preflight.rules.consistency import check_consistency
from polymodal.preflight.rules.data import check_data
from polymodal.preflight.rules.kinds import WRONG_KIND, wrong_kinds
from polymodal.preflight.rules.lightning import check_lightning
from polymodal.preflight.rules.no_op import check_no_op_options
from polymodal.preflight.rules.numbers import impossible_numbers
from polymodal.preflight.rules.signatures import expects_bool, signature_findings
from polymodal.preflight.rules.yaml_pitfalls import reinterpreted_values, without_keys
from polymodal.waiting import say_if_slow


@dataclass
class Report:
    """What a check found.

    Args:
        findings: Fatal ones first.
        notes: What the user should know beside them.
        seconds: Part of the check to the seconds that it took.
        estimates: What the dry run has measured, by name.
        members: Of several runs that were checked together, the report of each.
    """

    findings: list[Diagnostic] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    estimates: dict[str, Any] = field(default_factory=dict)
    members: dict[str, "Report"] = field(default_factory=dict)

    @property
    def errors(self) -> list[Diagnostic]:
        """The findings with which nothing should be started."""
        return [finding for finding in self.findings if finding.is_error]

    def add(self, findings: Iterable[Diagnostic], origins: Provenance) -> None:
        """Add findings with where they were written, each once, errors first.

        Args:
            findings: The findings.
            origins: Where the values of the configuration were written.
        """
        seen = {(finding.key, finding.message) for finding in self.findings}
        for finding in with_location(findings, origins):
            if (finding.key, finding.message) not in seen:
                seen.add((finding.key, finding.message))
                self.findings.append(finding)
        self.findings.sort(key=lambda finding: not finding.is_error)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "ok": not self.errors,
            "errors": len(self.errors),
            "warnings": len(self.findings) - len(self.errors),
            "findings": [finding.to_json() for finding in self.findings],
            "notes": self.notes,
            "estimates": self.estimates,
            "seconds": {name: round(second, 3) for name, second in self.seconds.items()},
            **(
                {"members": {k: report.to_json() for k, report in self.members.items()}}
                if self.members
                else {}
            ),
        }

    @contextmanager
    def timed(self, stage: str) -> Generator[None]:
        """Add the duration of a step of the check."""
        started = time.perf_counter()
        try:
            with say_if_slow(f"checking: {stage}"):
                yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent


def check_fast(composed: ComposedConfig, report: Report) -> Context:
    """Check all that needs no data: keys, values, targets, and what must fit together.

    Returns:
        The experiment, with the components that could be built.
    """
    origins = provenance_of(composed)
    config, reasons = resolve_partially(composed.config)
    context = Context(config, origins, project_packages(Path.cwd()))
    with report.timed("keys"):
        report.add(keys.missing_values(reasons), origins)
        report.add(_key_checks(config, origins), origins)
        report.add(impossible_numbers(config), origins)
        context.config = {**config, **{name: {} for name in keys.not_mappings(config)}}
    with report.timed("targets"):
        report.add(wrong_kinds(context.config, context.projects), origins)
        explained = (keys.MIXED, WRONG_KIND)
        mixed = tuple(f"{finding.key}." for finding in report.findings if finding.rule in explained)
        result = signature_findings(context.config, context.projects)
        unmixed = (finding for finding in result if not finding.key.startswith(mixed))
        report.add(keys.explained_strays(unmixed, origins, context.projects), origins)
        is_boolean = partial(expects_bool, config, projects=context.projects)
        report.add(reinterpreted_values(origins.entries, is_boolean), origins)
    context.broken |= {_section(finding.key) for finding in report.errors}
    with report.timed("fields"):
        report.add(check_components(context), origins)
        report.add(check_consistency(context), origins)
        report.add(check_lightning(context), origins)
    context.broken |= {_section(finding.key) for finding in report.errors}
    return context


def check_all(
    overrides: Sequence[str], *, full: bool = False, with_effects: bool = False
) -> Report:
    """Check all that can be known of a run before anything is spent on it.

    Args:
        overrides: In Hydra's grammar.
        full: Whether every file of the corpus is opened, not a sample.
        with_effects: Whether options are changed one by one, to find those without effect.

    Returns:
        The findings, the duration of each step, and the cost of the training.
    """
    report = Report()
    composed = compose_into(report, overrides)
    if composed is not None:
        check_whole(composed, report, full=full, with_effects=with_effects)
    return report


def compose_into(
    report: Report, overrides: Sequence[str], *, config_name: str = "run"
) -> ComposedConfig | None:
    """Compose a configuration, leaving out overrides that cannot be used.

    Args:
        report: Gets a finding for each of those.
        overrides: In Hydra's grammar.
        config_name: Which root.

    Returns:
        The configuration; None where it cannot be composed at all.
    """
    with report.timed("compose"):
        composed, faults = compose_all(overrides, config_name=config_name)
    report.add(faults, Provenance())
    if composed is None:
        report.notes.append("nothing else was checked: the configuration cannot be composed")
    return composed


def check_whole(
    composed: ComposedConfig, report: Report, *, full: bool = False, with_effects: bool = False
) -> Context:
    """Check a configuration, its data, and a batch of noise through its model.

    Args:
        composed: The configuration.
        report: Gets the findings, notes and estimates.
        full: As of `check_all`.
        with_effects: As of `check_all`.

    Returns:
        The experiment, with the components that could be built.
    """
    context = check_fast(composed, report)
    with report.timed("data"):
        report.add(check_data(context, full=full), context.origins)
    with report.timed("dry run"):
        findings, report.estimates = check_dry_run(context)
        report.add(findings, context.origins)
    if with_effects:
        with report.timed("effects"):
            report.add(check_no_op_options(context), context.origins)
    report.notes += context.notes
    return context


def raise_if_errors(report: Report) -> None:
    """End a command that would start something, where an error was found.

    Raises:
        ConfigError: With all errors.
    """
    if report.errors:
        raise ConfigError("\n".join(finding.text() for finding in report.errors))


def _key_checks(config: dict[str, Any], origins: Provenance) -> Iterator[Diagnostic]:
    yield from keys.unread_keys(config, origins)
    yield from keys.sections_without_options(config)
    yield from keys.sections_without_target(config, origins)
    yield from keys.unread_headers(origins)
    by_user = (layer.file for layer in origins.layers if SourceLocation(layer.file).by_user)
    yield from without_keys(file for file in by_user if file is not None)
    yield from keys.conflicting_keys(origins)
    yield from keys.shadowed_files(origins, Path.cwd())
    yield from keys.overridden_values(origins)


def _section(key: str) -> str:
    return key.partition(".")[0].partition("[")[0]
