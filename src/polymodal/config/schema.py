"""Types of the options that the program reads itself; their defaults are in `configs/`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

Split = Literal["train", "val", "test", "all"]
Stage = Literal["fit", "train", "test", "predict"]


@dataclass(frozen=True)
class DataOptions:
    """Section `data`: how utterances are read and put into batches."""

    batch_s: float | Literal["auto"]
    max_utterances: int
    sampling: Literal["natural", "balanced"]
    train_fraction: float
    num_workers: int | Literal["auto"]
    missing: Literal["absent", "drop", "refuse"]
    timeout_s: float
    cache_mb: float
    channels: Literal["mix", "first"]
    extract_workers: int
    reuse_prefix: Literal["auto", True, False]
    store_dtype: Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class PathOptions:
    """Section `paths`: folders that commands read and write.

    Example:
        >>> PathOptions(runs="runs", data="data", cache="~/.cache", store="/store").runs_folder
        PosixPath('runs')
    """

    runs: str
    data: str
    cache: str
    store: str

    @property
    def runs_folder(self) -> Path:
        """Folder of the run folders."""
        return Path(self.runs)

    @property
    def store_folder(self) -> Path:
        """Folder of the feature store."""
        return Path(self.store).expanduser()


@dataclass(frozen=True)
class SelectionOptions:
    """Section `selection`: what nested cross-validation chooses, and by which score."""

    grid: dict[str, Any] | None
    score: str
    out_of_fold: bool


@dataclass(frozen=True)
class AlertOptions:
    """Section `alert`: which events send an alert, and through which channel."""

    channel: dict[str, Any]
    ends: list[Literal["finished", "failed", "interrupted"]] | None
    above: dict[str, float] | None
    below: dict[str, float] | None


@dataclass(frozen=True)
class Limits:
    """The smallest and the largest number that an option takes.

    Args:
        low: The smallest number.
        high: The largest number.
        above: Whether `low` itself is too small.
        example: A number that suits most trainings.

    Example:
        >>> str(Limits(0, 1, above=True)), Limits(0, 1, above=True).allows(0)
        ('above 0, at most 1', False)
    """

    low: float
    high: float = float("inf")
    above: bool = False
    example: float = 1

    def allows(self, value: float) -> bool:
        """Return whether a number is within the limits."""
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'at least'} {self.low}"
        return low if self.high == float("inf") else f"{low}, at most {self.high}"


# Limits of numbers that no constructor judges, or only later.
LIMITS: Mapping[str, Limits] = {
    "seed": Limits(0, 2**32 - 1, example=0),
    "data.batch_s": Limits(0, above=True, example=120),
    "data.max_utterances": Limits(1, example=32),
    "data.train_fraction": Limits(0, 1, above=True),
    "data.num_workers": Limits(0, example=2),
    "data.timeout_s": Limits(0, example=120),
    "data.cache_mb": Limits(0, example=512),
    "data.extract_workers": Limits(0, example=2),
    "trainer.max_epochs": Limits(-1, example=30),
    "trainer.gradient_clip_val": Limits(0),
    "callbacks.early_stopping.patience": Limits(0, example=10),
}
SECTIONS: Mapping[str, type] = {
    "data": DataOptions,
    "paths": PathOptions,
    "selection": SelectionOptions,
    "alert": AlertOptions,
}
# Options beside the groups.
TOP_LEVEL: Mapping[str, Any] = {
    "seed": int,
    "stages": list[Stage],
    "resume": str | None,
    "resume_state": bool,
    "selection": dict[str, Any],
    "test_subsets": bool,
    "evaluate_on": Split,
}


def option_types(section: str) -> dict[str, Any]:
    """Return name and type of every option of a section that the program reads itself.

    Raises:
        KeyError: Another class or function reads the section.

    Example:
        >>> option_types("paths")["runs"]
        <class 'str'>
    """
    return get_type_hints(SECTIONS[section])
