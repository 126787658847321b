"""Changes of one argument, and look-ups in the table of a rule."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from polymodal.upgrade.rules import Rule

Value = Any  # None, bool, int, float, str, a list or mapping of them, Expression or Call


@dataclass(frozen=True)
class Expression:
    """A value that is computed at run time, or that builds an object."""

    text: str  # its text in the file: a Python expression, or an interpolation or section of YAML
    target: str = ""  # dotted name of the class, if it builds an object


@dataclass(frozen=True)
class Call:
    """An object to be built: dotted name of its class, and arguments by name."""

    target: str
    arguments: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class ArgEdit:
    """What becomes of one argument."""

    rule: Rule  # the rule that applies
    argument: str  # the argument; it may be missing
    # arguments that replace it, in this order; may contain the argument itself
    sets: tuple[tuple[str, Value], ...] = ()
    # what is added to the argument `callbacks`. A caller that cannot add it keeps the argument and
    # says `note`, or removes it if the rule is `harmless`
    callback: Call | Expression | None = None
    is_undecided: bool = False  # whether a person has to decide; `note` says what
    note: str = ""  # what a person has to know


def ask(rule: Rule, argument: str, note: str = "") -> ArgEdit:
    """Leave an argument to a person, with the note of the rule by default."""
    return ArgEdit(rule, argument, is_undecided=True, note=note or rule.note)


def contains(value: Value, values: Iterable[Value]) -> bool:
    """Return whether a value is one of several; 1 is not True, and 0 is not False.

    Example:
        >>> contains(1, [True]), contains(None, [False, None])
        (False, True)
    """
    return any(type(value) is type(candidate) and value == candidate for candidate in values)


def lookup(rule: Rule, value: Value) -> tuple[tuple[str, Value], ...] | None:
    """Return the arguments that replace a value by a rule's table; None if it is not listed."""
    for old, new in rule.values:
        if contains(value, [old]):
            return tuple(new.items()) if isinstance(new, Mapping) else ((rule.new[0], new),)
    return None
