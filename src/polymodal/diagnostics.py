"""Findings of a check: the problem, where it was written, and a hint."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from polymodal.config.provenance import Provenance, SourceLocation
from polymodal.errors import UserError

MAX_NAMED = 3  # runs that a message names
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Diagnostic:
    """A problem of an experiment.

    Args:
        rule: Short name of the problem, such as `unknown option`.
        key: The dotted key of the configuration, or the name of the component.
        message: The problem, as a sentence.
        expected: What was expected instead; may be empty.
        hint: How to fix it; may be empty.
        severity: `error`: the run would fail, or its result would be wrong. `warning`: it would
            run, but hardly as it is meant.
        origin: Where it was written; None where that is unknown.
        of: Of several runs that are checked together, those that have it; empty for all.

    Example:
        >>> print(Diagnostic("wrong type", "seed", "seed='x' has the wrong type", "int").text())
        seed='x' has the wrong type
          expected: int
    """

    rule: str
    key: str
    message: str
    expected: str = ""
    hint: str = ""
    severity: Severity = "error"
    origin: SourceLocation | None = None
    of: tuple[str, ...] = ()

    @property
    def is_error(self) -> bool:
        """Whether nothing should be started."""
        return self.severity == "error"

    def text(self) -> str:
        """Returns the finding in some lines, as errors are shown."""
        lines = [self.message]
        if self.origin is not None:
            lines.append(f"  at: {self.origin}")
        if self.of:
            more = len(self.of) - MAX_NAMED
            lines.append(
                f"  of: {', '.join(self.of[:MAX_NAMED])}{f' and {more} more' * (more > 0)}"
            )
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as plain values."""
        origin = self.origin or SourceLocation()
        return {
            "severity": self.severity,
            "rule": self.rule,
            "key": self.key,
            "file": None if origin.file is None else str(origin.file),
            "line": origin.line,
            "override": origin.override,
            "of": list(self.of),
            "reason": self.message,
            "expected": self.expected,
            "remedy": self.hint,
        }


def from_error(
    error: UserError, rule: str, key: str, origin: SourceLocation | None = None
) -> Diagnostic:
    """Returns what an error says as a finding.

    Args:
        error: The error.
        rule: As in `Diagnostic`.
        key: As in `Diagnostic`.
        origin: As in `Diagnostic`.
    """
    return Diagnostic(rule, key, error.message, error.expected, error.hint, origin=origin)


def with_location(findings: Iterable[Diagnostic], origins: Provenance) -> Iterator[Diagnostic]:
    """Adds where the key of each finding was written.

    Args:
        findings: Some may know it already.
        origins: Where the values of the configuration were written.

    Yields:
        The findings.
    """
    for one in findings:
        yield one if one.origin else replace(one, origin=origins.find(one.key))
