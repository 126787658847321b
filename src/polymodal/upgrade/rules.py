"""Rules of an upgrade, read from `rules/*.yaml`: what was renamed, moved or removed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

FOLDER = Path(__file__).parent / "rules"
Kind = Literal["argument", "name", "form"]
# Groups of classes; `torchmetrics` is every class of that package.
GROUPS: Mapping[str, frozenset[str]] = {
    "classification": frozenset(
        {
            *("AUROC", "Accuracy", "AveragePrecision", "CalibrationError", "CohenKappa"),
            *("ConfusionMatrix", "ExactMatch", "F1Score", "FBetaScore", "HammingDistance"),
            *("HingeLoss", "JaccardIndex", "LogAUC", "MatthewsCorrCoef", "ROC", "Recall"),
            *("NegativePredictiveValue", "Precision", "PrecisionAtFixedRecall"),
            *("PrecisionRecallCurve", "RecallAtFixedPrecision", "SensitivityAtSpecificity"),
            *("Specificity", "SpecificityAtSensitivity", "StatScores"),
            # functions of torchmetrics.functional
            *("accuracy", "auroc", "average_precision", "calibration_error", "cohen_kappa"),
            *("confusion_matrix", "exact_match", "f1_score", "fbeta_score", "hamming_distance"),
            *("hinge_loss", "jaccard_index", "matthews_corrcoef", "roc", "recall", "precision"),
            *("precision_recall_curve", "specificity", "stat_scores"),
        }
    )
}
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "pytorch_lightning": ("pytorch_lightning.", "lightning.pytorch."),
    "torchmetrics": ("torchmetrics.",),
    "transformers": ("transformers.",),
}


@dataclass(frozen=True)
class Rule:
    """A change of a library."""

    id: str  # its name; rules on the same subject may share one
    kind: Kind  # `argument` of a class, dotted `name`, or another `form`, which code looks for
    library: str  # package that changed
    old: tuple[str, ...]  # old arguments, dotted names (`.*`: all below) or forms
    new: tuple[str, ...]  # their replacement; empty if there is none
    reason: str  # why or how it changed
    source: str  # page of the library that says so
    deprecated: str = ""  # release that began to warn; may be empty
    removed: str = ""  # release without the old form; empty if it still works with a warning
    hint: str = ""  # what to do by hand, for `check`
    classes: tuple[str, ...] = ()  # names of the classes that took the argument
    # what becomes of the argument: `rename`, `drop`, `ask` (a person decides), or the name of a
    # decision in `decisions.py`
    action: str = "ask"
    neutral: tuple[Any, ...] = ()  # values without effect, so that the argument is removed
    quiet: tuple[Any, ...] = ()  # values that need no note
    values: tuple[tuple[Any, Any], ...] = ()  # old value, and the new one or a mapping of arguments
    only: tuple[Any, ...] | None = None  # values that the rule applies to; None for all
    # values that a person decides on; the rule applies to these alone
    ask_about: tuple[Any, ...] | None = None
    accelerator: str = ""  # kind of device that the argument counts
    callback: str = ""  # dotted name of the callback that replaces it
    harmless: bool = False  # whether training gives the same result without that callback
    note: str = ""  # what a person has to know

    @property
    def since(self) -> str:
        """Since when it is gone or old."""
        return f"gone since {self.removed}" if self.removed else f"old since {self.deprecated}"

    def is_about(self, target: str) -> bool:
        """Return whether a class, by its dotted name, took this argument."""
        name = target.rpartition(".")[2]
        in_package = target.startswith(PACKAGES.get(self.library, (self.library + ".",)))
        return in_package and any(
            name == name_or_group
            or name in GROUPS.get(name_or_group, ())
            or name_or_group == self.library
            for name_or_group in self.classes
        )


def rules(kind: Kind | None = None) -> tuple[Rule, ...]:
    """Return the rules of a kind, or all, in the order of their files.

    Raises:
        ValueError: A file of rules is not valid.

    Example:
        >>> next(rule.new for rule in rules("argument") if "gpus" in rule.old)
        ('accelerator', 'devices')
    """
    return tuple(rule for rule in _all() if kind in (None, rule.kind))


@cache
def rule_by_id(name: str) -> Rule:
    """Return the first rule of an id."""
    return next(rule for rule in rules() if rule.id == name)


@cache
def _all() -> tuple[Rule, ...]:
    files = sorted(FOLDER.glob("*.yaml"))
    return tuple(rule for file in files for rule in _read(file))


def _read(file: Path) -> Iterator[Rule]:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    common = {key: value for key, value in content.items() if key != "rules"}
    for raw in content["rules"]:
        try:
            yield _rule({**common, **raw})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file.name}: {raw.get('id', raw)}: {error}") from error


def _rule(raw: Mapping[str, Any]) -> Rule:
    options = {key: value for key, value in raw.items() if key not in ("from", "to")}
    for key in ("classes", "neutral", "quiet", "only", "ask_about"):
        if key in options:
            options[key] = _several(options[key])
    options["values"] = tuple((old, new) for old, new in options.get("values", ()))
    rule = Rule(old=_several(raw["from"]), new=_several(raw.get("to", ())), **options)
    if rule.kind == "argument" and not (rule.classes and rule.hint and rule.reason):
        raise ValueError("an argument needs classes, a reason and a hint")
    if rule.kind != "form" and not (rule.deprecated or rule.removed):
        raise ValueError("since when? deprecated or removed is missing")
    return rule


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
