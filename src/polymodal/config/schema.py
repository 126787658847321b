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
