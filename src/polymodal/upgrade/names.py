"""What has become of a dotted name: moved, renamed or gone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from polymodal.upgrade.rules import Rule, rules

PACKAGE_RULE = "name-lightning-package"
OURS, OTHER = "pytorch_lightning", "lightning.pytorch"


@dataclass(frozen=True)
class Renamed:
    """What became of a name.

    Args:
        rule: Which rule says so; of several, the first.
        name: What it is called now; None where it is gone.
    """

    rule: Rule
    name: str | None


def renamed(name: str, is_installed: Callable[[str], bool] | None = None) -> Renamed | None:
    """Tells what a class, function or module is called now.

    Of Lightning's two packages that one is written that is installed; if both or none are, the one
    that stands there stays.

    Args:
        name: Dotted name, by which it is imported.
        is_installed: Tells whether a package is installed; asks Python by default.

    Returns:
        What became of it; None where it is called as it was.

    Example:
        >>> renamed("pytorch_lightning.metrics.F1").name
        'torchmetrics.F1Score'
    """
    ours, was_other = _plain(name)
    first: Rule | None = None
    now = ours
    for _ in range(4):  # a name may have moved more than once
        found = _once(now)
        if found is None:
            break
        first = first or found.rule
        if found.name is None:
            return Renamed(first, None)
        now = found.name
    written = _package(now, was_other, is_installed or _is_installed)
    if written == name:
        return None
    return Renamed(first or _by_name()[OTHER + ".*"], written)


def _plain(name: str) -> tuple[str, bool]:
    """The name as the rules write it, and whether it was of the other package."""
    is_other = name == OTHER or name.startswith(OTHER + ".")
    return (OURS + name.removeprefix(OTHER), True) if is_other else (name, False)


def _package(name: str, was_other: bool, is_installed: Callable[[str], bool]) -> str:
    if name != OURS and not name.startswith(OURS + "."):
        return name
    ours, other = is_installed(OURS), is_installed("lightning")
    keeps_other = other if ours != other else was_other
    return OTHER + name.removeprefix(OURS) if keeps_other else name


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
def _is_installed(package: str) -> bool:
    return find_spec(package) is not None
