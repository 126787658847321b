"""Current names of what was moved, renamed or removed, in either of Lightning's packages."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from polymodal.upgrade.rules import Rule, rule_by_id, rules

PACKAGE_RULE = "name-lightning-package"
SEPARATE, UNIFIED, MODULE = "pytorch_lightning", "lightning", "lightning.pytorch"
# Names at the top of the unified package.
TOP = {
    name: f"{SEPARATE}.{name}"
    for name in ("Trainer", "LightningModule", "LightningDataModule", "Callback", "seed_everything")
} | {"Fabric": "lightning_fabric.Fabric"}
# The base of all progress bars took the name of the bar of tqdm.
BAR = "pytorch_lightning.callbacks.ProgressBar"


@dataclass(frozen=True)
class Renamed:
    """The current name, or None if it was removed, and the first rule that applies."""

    rule: Rule
    name: str | None


def current(name: str, is_installed: Callable[[str], bool] | None = None) -> Renamed | None:
    """Return the current name of a class, function or module; None if it has not changed.

    Of Lightning's two packages the installed one is written; if both or none are installed, the
    package stays as it is.

    Example:
        >>> current("pytorch_lightning.metrics.F1").name
        'torchmetrics.F1Score'
    """
    is_unified = name == MODULE or name.startswith(MODULE + ".")
    now = SEPARATE + name.removeprefix(MODULE) if is_unified else name
    first: Rule | None = None
    for _ in range(4):  # a name may have moved more than once
        step = _once(now)
        if step is None:
            break
        first = first or step.rule
        if step.name is None:
            return Renamed(first, None)
        now = step.name
    if now == SEPARATE or now.startswith(SEPARATE + "."):
        separate, unified = map(is_installed or importable, (SEPARATE, UNIFIED))
        if unified if separate != unified else is_unified:
            now = MODULE + now.removeprefix(SEPARATE)
    return None if now == name else Renamed(first or _by_name()[MODULE + ".*"], now)


def _once(name: str) -> Renamed | None:
    table = _by_name()
    if name in table:
        rule = table[name]
        return Renamed(rule, rule.new[0] if rule.new else None)
    head, _, last = name.rpartition(".")
    while head:
        above = table.get(head + ".*")
        if above is not None and above.id != PACKAGE_RULE:
            now = above.new[0].removesuffix("*") + last if above.new else None
            return Renamed(above, now)
        head, _, more = head.rpartition(".")
        last = f"{more}.{last}"
    return None


@cache
def _by_name() -> Mapping[str, Rule]:
    return {old: rule for rule in rules("name") for old in rule.old}


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
        move = current(f"{head}.*" if f"{head}.*" in _modules() else head, SEPARATE.__eq__)
        if move is not None and move.name is not None:
            now = move.name.removesuffix(".*")
            return Renamed(move.rule, ".".join([now, *segments[count:]]))
        if move is not None:
            return move
    return None


@cache
def _modules() -> frozenset[str]:
    return frozenset(old for pattern in rules("name") for old in pattern.old if old.endswith(".*"))


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
