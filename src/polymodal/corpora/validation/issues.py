"""What an inspection found: findings by rule, measures of every utterance, and the verdict."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import numpy as np
import polars as pl

from polymodal.corpora.validation.class_table import ClassTable

FAULTS = frozenset(
    {
        "audio changed",
        "audio not finite",
        "empty audio",
        "missing audio",
        "missing signal",
        "path outside the corpus",
        "signal not finite",
        "signal too short",
        "truncated audio",
        "unreadable audio",
        "unreadable signal",
        "unusable times",
    }
)
EXAMPLES = 100
DESCRIBED = ("seconds", "rms_db", "peak", "clipped_share", "silent_share")

Severity = Literal["fault", "warning"]
Verdict = Literal["usable", "usable with warnings", "not usable"]


@dataclass(frozen=True, slots=True)
class DataIssue:
    """One thing that is wrong with one utterance.

    Args:
        utterance_id: The utterance.
        rule: Short name of what was found, such as `truncated audio`.
        detail: What was found, with its figures.
    """

    utterance_id: str
    rule: str
    detail: str

    @property
    def severity(self) -> Severity:
        """A `fault` ends or falsifies a training run, a `warning` should be looked at."""
        return "fault" if self.rule in FAULTS else "warning"


class UnusableFileError(Exception):
    """Nothing of a file can be used.

    Args:
        rule: As in `Diagnostic`.
        detail: As in `Diagnostic`.
    """

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(rule, detail)
        self.rule, self.detail = rule, detail


@dataclass(frozen=True)
class Inspection:
    """What was found behind a manifest.

    Args:
        findings: Faults first, then by rule and utterance.
        num_utterances: Rows of the manifest.
        seconds: Seconds of audio that were decoded for them.
        wall_s: How long that took.
        measures: One row an utterance, in the manifest's order: `utterance_id` and the columns of
            `MEASURES`; null where nothing could be measured.
    """

    findings: tuple[DataIssue, ...]
    num_utterances: int
    seconds: float
    wall_s: float
    measures: pl.DataFrame = field(repr=False)

    def by_rule(self) -> dict[str, list[DataIssue]]:
        """Returns the findings of each rule, faults first."""
        return {rule: list(found) for rule, found in groupby(self.findings, lambda one: one.rule)}

    def num_with(self, severity: Severity) -> int:
        """Returns how many utterances have a finding of this severity.

        Args:
            severity: `fault` or `warning`.

        Returns:
            The number of utterances, each counted once.
        """
        return len({one.utterance_id for one in self.findings if one.severity == severity})

    @property
    def verdict(self) -> Verdict:
        """Whether the corpus can be used; one fault suffices that it cannot."""
        if not self.findings:
            return "usable"
        return "not usable" if self.findings[0].severity == "fault" else "usable with warnings"

    @property
    def summary(self) -> str:
        """The verdict's reason in one sentence."""
        if not self.findings:
            return f"nothing is wrong with any of {self.num_utterances} utterances"
        severity = self.findings[0].severity
        counts = Counter(one.rule for one in self.findings if one.severity == severity)
        rules = ", ".join(f"{rule} {count}" for rule, count in counts.most_common())
        others = self.num_with("warning") if severity == "fault" else 0
        more = f"; {others} have a warning" if others else ""
        return (
            f"{self.num_with(severity)} of {self.num_utterances} utterances have a {severity} "
            f"({rules}){more}"
        )

    def to_json(self, classes: ClassTable | None = None) -> dict[str, Any]:
        """Returns everything as plain values for a JSON file.

        Args:
            classes: What `class_table` returned.

        Returns:
            Verdict, counts and examples by rule, distributions, and the classes if given.
        """
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "utterances": self.num_utterances,
            "with_fault": self.num_with("fault"),
            "with_warning": self.num_with("warning"),
            "audio_s": round(self.seconds, 3),
            "wall_s": round(self.wall_s, 3),
            "rules": {rule: _rule_json(found) for rule, found in self.by_rule().items()},
            "distributions": {name: distribution(self.measures[name]) for name in DESCRIBED},
            "sampling_rates_hz": _frequencies(self.measures["sampling_rate_hz"]),
            "channels": _frequencies(self.measures["channels"]),
            "classes": None if classes is None else classes.to_json(),
        }


def distribution(values: pl.Series, bins: int = 40) -> dict[str, Any]:
    """Describes one measure of all utterances.

    Args:
        values: The measure; nulls are left out.
        bins: Number of bins of the histogram.

    Returns:
        Count, mean, quantiles, and the histogram's edges and counts.

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


def _rule_json(found: Sequence[DataIssue]) -> dict[str, Any]:
    return {
        "severity": found[0].severity,
        "count": len(found),
        "examples": [
            {"utterance_id": one.utterance_id, "detail": one.detail} for one in found[:EXAMPLES]
        ],
    }


def _frequencies(values: pl.Series) -> dict[str, int]:
    counts = values.drop_nulls().value_counts().sort(values.name)
    return {str(value): count for value, count in counts.iter_rows()}
