"""Result of an inspection: issues by rule, measures of every utterance, and the verdict."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import numpy as np
import polars as pl

from polymodal.corpora.validation.class_table import ClassTable

FAULTS = frozenset(
    {
        *("audio changed", "audio not finite", "empty audio", "missing audio", "missing signal"),
        *("path outside the corpus", "signal not finite", "signal too short", "truncated audio"),
        *("unreadable audio", "unreadable signal", "unusable times"),
    }
)
LONGER = "much longer than the others"
NOTES = frozenset({LONGER})
EXAMPLES = 100
DESCRIBED = ("seconds", "rms_db", "peak", "clipped_share", "silent_share")

Severity = Literal["fault", "warning", "note"]
Verdict = Literal["usable", "usable with warnings", "not usable"]
ORDER: Mapping[Severity, int] = {"fault": 0, "warning": 1, "note": 2}
VERDICTS: Mapping[Severity, Verdict] = {
    "fault": "not usable",
    "warning": "usable with warnings",
    "note": "usable",
}


@dataclass(frozen=True, slots=True)
class DataIssue:
    """One issue of one utterance."""

    utterance_id: str
    rule: str  # short name, such as `truncated audio`
    detail: str  # with figures

    @property
    def severity(self) -> Severity:
        """`fault`: a training run would fail or be wrong. `warning`: should be looked at.

        `note`: worth knowing.
        """
        return "fault" if self.rule in FAULTS else "note" if self.rule in NOTES else "warning"


class UnusableFileError(Exception):
    """A file cannot be used at all; its arguments are rule and detail as in `DataIssue`."""


def rule_and_detail(error: Exception, rule: str, file: str | None) -> tuple[str, str]:
    """Return what an issue says about a file that cannot be read; `rule` is the default."""
    return error.args if isinstance(error, UnusableFileError) else (rule, f"{file}: {error}")


@dataclass(frozen=True)
class Inspection:
    """The issues of a manifest."""

    issues: tuple[DataIssue, ...]  # faults, warnings, notes; then by rule and utterance
    num_utterances: int
    seconds: float  # of audio that was decoded
    wall_s: float
    # A row an utterance, in the manifest's order: `utterance_id` and the columns of `MEASURES`;
    # null if not measured.
    measures: pl.DataFrame = field(repr=False)

    def by_rule(self) -> dict[str, list[DataIssue]]:
        """Return the issues of each rule, faults first."""
        groups = groupby(self.issues, lambda issue: issue.rule)
        return {rule: list(issues) for rule, issues in groups}

    def num_with(self, severity: Severity) -> int:
        """Return how many utterances have an issue of this severity."""
        return len({issue.utterance_id for issue in self.issues if issue.severity == severity})

    @property
    def verdict(self) -> Verdict:
        """Whether the corpus can be used; a single fault makes it unusable."""
        return VERDICTS[self.issues[0].severity] if self.issues else "usable"

    @property
    def summary(self) -> str:
        """The verdict's reason in one sentence."""
        if not self.issues:
            return f"nothing is wrong with any of {self.num_utterances} utterances"
        severity = self.issues[0].severity
        counts = Counter(issue.rule for issue in self.issues if issue.severity == severity)
        rules = ", ".join(f"{rule} {count}" for rule, count in counts.most_common())
        others = self.num_with("warning") if severity == "fault" else 0
        more = f"; {others} have a warning" if others else ""
        return (
            f"{self.num_with(severity)} of {self.num_utterances} utterances have a {severity} "
            f"({rules}){more}"
        )

    def to_json(self, classes: ClassTable | None = None) -> dict[str, Any]:
        """Return verdict, counts, examples by rule, distributions and classes as plain values."""
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "utterances": self.num_utterances,
            "with_fault": self.num_with("fault"),
            "with_warning": self.num_with("warning"),
            "with_note": self.num_with("note"),
            "audio_s": round(self.seconds, 3),
            "wall_s": round(self.wall_s, 3),
            "rules": {rule: _rule_json(issues) for rule, issues in self.by_rule().items()},
            "distributions": {name: distribution(self.measures[name]) for name in DESCRIBED},
            "sampling_rates_hz": _frequencies(self.measures["sampling_rate_hz"]),
            "channels": _frequencies(self.measures["channels"]),
            "classes": None if classes is None else classes.to_json(),
        }


def distribution(values: pl.Series, bins: int = 40) -> dict[str, Any]:
    """Return count, mean, quantiles and histogram of a measure, without nulls.

    Example:
        >>> distribution(pl.Series([1.0, 3.0, None]))["mean"]
        2.0
    """
    numbers = values.drop_nulls().to_numpy()
    if not numbers.size:
        return {"count": 0}
    names = ("min", "p05", "median", "p95", "max")
    quantiles = np.quantile(numbers, (0, 0.05, 0.5, 0.95, 1))
    counts, edges = np.histogram(numbers, bins)
    return {
        "count": int(numbers.size),
        "mean": float(numbers.mean()),
        **dict(zip(names, quantiles.tolist(), strict=True)),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _rule_json(issues: Sequence[DataIssue]) -> dict[str, Any]:
    shown = issues[:EXAMPLES]
    examples = [{"utterance_id": issue.utterance_id, "detail": issue.detail} for issue in shown]
    return {"severity": issues[0].severity, "count": len(issues), "examples": examples}


def _frequencies(values: pl.Series) -> dict[str, int]:
    counts = values.drop_nulls().value_counts().sort(values.name)
    return {str(value): count for value, count in counts.iter_rows()}
