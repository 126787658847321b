"""Current names of classes, functions and modules that were moved, renamed or removed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from polymodal.upgrade.rules import Rule, rules

PACKAGE_RULE = "name-lightning-package"
OURS, OTHER = "pytorch_lightning", "lightning.pytorch"


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
    ours, was_other = _plain(name)
    first: Rule | None = None
    now = ours
    for _ in range(4):  # a name may have moved more than once
        step = _once(now)
        if step is None:
            break
        first = first or step.rule
        if step.name is None:
            return Renamed(first, None)
        now = step.name
    written = _package(now, was_other, is_installed or _is_installed)
    if written == name:
        return None
    return Renamed(first or _by_name()[OTHER + ".*"], written)


def _plain(name: str) -> tuple[str, bool]:
    """Return the name as the rules write it, and whether it was of the unified package."""
    is_other = name == OTHER or name.startswith(OTHER + ".")
    return (OURS + name.removeprefix(OTHER), True) if is_other else (name, False)


def _package(name: str, was_other: bool, is_installed: Callable[[str], bool]) -> str:
    if name != OURS and not name.startswith(OURS + "."):
        return name
    ours, unified = is_installed(OURS), is_installed("lightning")
    keeps_other = unified if ours != unified else was_other
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
