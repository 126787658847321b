"""The rules of an upgrade, read from rules/*.yaml: what was renamed, moved or taken away."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

FOLDER = Path(__file__).parent / "rules"
Kind = Literal["argument", "name", "form"]
# Classes that stand for several; `torchmetrics` is every class of that package.
GROUPS: Mapping[str, frozenset[str]] = {
    "classification": frozenset(
        {
            *("AUROC", "Accuracy", "AveragePrecision", "CalibrationError", "CohenKappa"),
            *("ConfusionMatrix", "ExactMatch", "F1Score", "FBetaScore", "HammingDistance"),
            *("HingeLoss", "JaccardIndex", "LogAUC", "MatthewsCorrCoef", "ROC", "Recall"),
            *("NegativePredictiveValue", "Precision", "PrecisionAtFixedRecall"),
            *("PrecisionRecallCurve", "RecallAtFixedPrecision", "SensitivityAtSpecificity"),
            *("Specificity", "SpecificityAtSensitivity", "StatScores"),
            # The functions of torchmetrics.functional.
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
    """One thing that a library has changed.

    Args:
        id: Its name; several rules may share one, where they are about one thing.
        kind: `argument` of a class, dotted `name`, or another `form`, which code looks for.
        library: Package that changed.
        old: What it was called: arguments, dotted names (`.*`: all below), or words.
        new: What takes its place; empty where it is gone, or not to be decided.
        reason: Why, or in which way it changed.
        source: Where the library says so.
        deprecated: Release that began to warn; may be empty.
        removed: Release without the old one; empty where it still works, with a warning.
        remedy: What to do by hand, for `check`.
        classes: Of an argument, the names of the classes that took it.
        action: Of an argument, what becomes of it: `rename`, `drop`, `ask` (a person decides), or
            the name of a decision in `arguments.py`.
        neutral: Values that asked for nothing, so that it is left out.
        quiet: Values that need no note.
        values: Old value and new one, or a mapping of arguments that take its place.
        only: If given, the rule is about these values alone.
        asked: Values that a person decides on; the rule is about these alone.
        accelerator: Kind of device that the argument counts.
        callback: Dotted name of the callback that does it now.
        harmless: Whether the result of a training is the same without that callback.
        note: What a person has to know.
    """

    id: str
    kind: Kind
    library: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    reason: str
    source: str
    deprecated: str = ""
    removed: str = ""
    remedy: str = ""
    classes: tuple[str, ...] = ()
    action: str = "ask"
    neutral: tuple[Any, ...] = ()
    quiet: tuple[Any, ...] = ()
    values: tuple[tuple[Any, Any], ...] = ()
    only: tuple[Any, ...] | None = None
    asked: tuple[Any, ...] | None = None
    accelerator: str = ""
    callback: str = ""
    harmless: bool = False
    note: str = ""

    def is_about(self, target: str) -> bool:
        """Tells whether a class took this argument.

        Args:
            target: Dotted name of the class.
        """
        name = target.rpartition(".")[2]
        in_package = target.startswith(PACKAGES.get(self.library, (self.library + ".",)))
        return in_package and any(
            name == one or name in GROUPS.get(one, ()) or one == self.library
            for one in self.classes
        )


def rules(kind: Kind | None = None) -> tuple[Rule, ...]:
    """Returns the rules, in the order of their files.

    Args:
        kind: Of this kind only.

    Returns:
        All of them.

    Raises:
        ValueError: A file of rules is wrong; the tests see to it that none is.

    Example:
        >>> next(rule.new for rule in rules("argument") if "gpus" in rule.old)
        ('accelerator', 'devices')
    """
    return tuple(rule for rule in _all() if kind in (None, rule.kind))


@cache
def _all() -> tuple[Rule, ...]:
    files = sorted(FOLDER.glob("*.yaml"))
    return tuple(one for file in files for one in _read(file))


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
    for key in ("classes", "neutral", "quiet", "only", "asked"):
        if key in options:
            options[key] = _several(options[key])
    options["values"] = tuple((old, new) for old, new in options.get("values", ()))
    made = Rule(old=_several(raw["from"]), new=_several(raw.get("to", ())), **options)
    if made.kind == "argument" and not (made.classes and made.remedy and made.reason):
        raise ValueError("an argument needs classes, a reason and a remedy")
    if made.kind != "form" and not (made.deprecated or made.removed):
        raise ValueError("since when? deprecated or removed is missing")
    return made


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
