"""Names of libraries as a Python file refers to them, in either of Lightning's packages."""

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec

from polymodal.upgrade.names import Renamed, current
from polymodal.upgrade.python_source import rule_by_id
from polymodal.upgrade.rules import rules

SEPARATE, UNIFIED = "pytorch_lightning", "lightning"
PACKAGE_RULE = "name-lightning-package"
# Names at the top of the unified package.
TOP = {
    name: f"{SEPARATE}.{name}"
    for name in ("Trainer", "LightningModule", "LightningDataModule", "Callback", "seed_everything")
} | {"Fabric": "lightning_fabric.Fabric"}
# The base of all progress bars took the name of the bar of tqdm.
BAR = "pytorch_lightning.callbacks.ProgressBar"


@cache
def importable(package: str) -> bool:
    """Return whether a package is installed."""
    return find_spec(package) is not None


def canonical(name: str) -> str:
    """Write a name of the unified package as one of the separate packages.

    Example:
        >>> canonical("lightning.pytorch.callbacks.Timer"), canonical("torch.nn.Linear")
        ('pytorch_lightning.callbacks.Timer', 'torch.nn.Linear')
    """
    head, _, rest = name.partition(".")
    if head != UNIFIED:
        return name
    first, _, tail = rest.partition(".")
    if not rest:
        return SEPARATE
    base = {"pytorch": SEPARATE, "fabric": "lightning_fabric"}.get(first) or TOP.get(first)
    if base is None:
        return name
    return f"{base}.{tail}" if tail else base


def follow(name: str, text: str = "") -> Renamed | None:
    """Return the move of a name or module, None if it has not moved.

    A `ProgressBar` is that of tqdm only if the text of the file says so.

    Example:
        >>> follow("pytorch_lightning.metrics.functional").name
        'torchmetrics.functional'
    """
    if name.endswith(".ProgressBarBase"):
        return Renamed(rule_by_id("name-progress-bar-base"), BAR)
    if name.endswith(".ProgressBar") and "_tqdm" not in text and "refresh_rate" not in text:
        return None
    segments = name.split(".")
    for count in range(len(segments), 1, -1):
        head = ".".join(segments[:count])
        move = current(f"{head}.*" if f"{head}.*" in _modules() else head, _separate)
        if move is not None and move.name is not None:
            now = move.name.removesuffix(".*")
            return Renamed(move.rule, ".".join([now, *segments[count:]]))
        if move is not None:
            return move
    return None


@cache
def _modules() -> frozenset[str]:
    return frozenset(old for pattern in rules("name") for old in pattern.old if old.endswith(".*"))


def _separate(package: str) -> bool:
    return package == SEPARATE


def keeps_unified(packages: Iterable[str]) -> bool:
    """Return whether a project keeps the unified package: the only one used or installed."""
    if not importable(UNIFIED):
        return False
    return not importable(SEPARATE) or set(packages) == {UNIFIED}


def localised(name: str, *, unified: bool) -> str:
    """Write a canonical name for the package by which a project imports Lightning."""
    for package, module in ((SEPARATE, "pytorch"), ("lightning_fabric", "fabric")):
        if unified and (name == package or name.startswith(f"{package}.")):
            return f"{UNIFIED}.{module}{name[len(package) :]}"
    return name
