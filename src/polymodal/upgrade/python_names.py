"""Names of libraries as a Python file may say them: of one package of Lightning or the other."""

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec

from polymodal.upgrade.names import Renamed, renamed
from polymodal.upgrade.python_source import rule_of
from polymodal.upgrade.rules import rules

SEPARATE, UNIFIED = "pytorch_lightning", "lightning"
PACKAGE_RULE = "name-lightning-package"
# What the unified package offers at its top, and where it is from.
TOP = {
    name: f"{SEPARATE}.{name}"
    for name in ("Trainer", "LightningModule", "LightningDataModule", "Callback", "seed_everything")
} | {"Fabric": "lightning_fabric.Fabric"}
# The base of all bars took the name that the bar of tqdm had.
BAR = "pytorch_lightning.callbacks.ProgressBar"


@cache
def importable(package: str) -> bool:
    """Tells whether a package is installed."""
    return find_spec(package) is not None


def canonical(name: str) -> str:
    """Writes a name of the unified package as one of the separate packages.

    Args:
        name: Dotted path.

    Returns:
        Dotted path below `pytorch_lightning` or `lightning_fabric`; others as they are.

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
    """Tells what became of a name, or of a module.

    Args:
        name: Dotted path, canonical.
        text: The file; a `ProgressBar` was that of tqdm where it says so.

    Returns:
        What became of it; None where it is called as it was.

    Example:
        >>> follow("pytorch_lightning.metrics.functional").name
        'torchmetrics.functional'
    """
    if name.endswith(".ProgressBarBase"):
        return Renamed(rule_of("name-progress-bar-base"), BAR)
    if name.endswith(".ProgressBar") and "_tqdm" not in text and "refresh_rate" not in text:
        return None
    parts = name.split(".")
    for count in range(len(parts), 1, -1):
        head = ".".join(parts[:count])
        found = renamed(f"{head}.*" if f"{head}.*" in _modules() else head, _separate)
        if found is not None and found.name is not None:
            now = found.name.removesuffix(".*")
            return Renamed(found.rule, ".".join([now, *parts[count:]]))
        if found is not None:
            return found
    return None


@cache
def _modules() -> frozenset[str]:
    """Returns the modules that have moved as a whole."""
    return frozenset(old for one in rules("name") for old in one.old if old.endswith(".*"))


def _separate(package: str) -> bool:
    return package == SEPARATE


def keeps_unified(packages: Iterable[str]) -> bool:
    """Tells whether a tree goes on calling Lightning by its unified package.

    Args:
        packages: Packages by which its files call Lightning.

    Returns:
        True where that package is installed, and the tree uses no other, or no other is there.
    """
    if not importable(UNIFIED):
        return False
    return not importable(SEPARATE) or set(packages) == {UNIFIED}


def localised(name: str, *, unified: bool) -> str:
    """Writes a canonical name for the package by which a tree calls Lightning."""
    for package, module in ((SEPARATE, "pytorch"), ("lightning_fabric", "fabric")):
        if unified and (name == package or name.startswith(f"{package}.")):
            return f"{UNIFIED}.{module}{name[len(package) :]}"
    return name
