"""What becomes of one argument, and how a rule's table says it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from polymodal.upgrade.rules import Rule

Value = Any  # None, bool, int, float, str, a list or mapping of them, Expression or Call


@dataclass(frozen=True)
class Expression:
    """A value that is known only when the program runs, or that makes an object.

    Args:
        text: As it stands in the file: Python's expression, or YAML's interpolation or section.
        target: Dotted name of the class, where it makes an object of one.
    """

    text: str
    target: str = ""


@dataclass(frozen=True)
class Call:
    """An object that is to be made.

    Args:
        target: Dotted name of its class.
        arguments: Its arguments by name.
    """

    target: str
    arguments: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Edit:
    """What becomes of one argument.

    Args:
        rule: Which rule says so.
        argument: The argument; one that is missing where a class asks for it now.
        sets: Arguments that stand in its place, in this order; none where it is only left out. An
            argument that is itself among them keeps its name.
        callback: What is to be added to the argument `callbacks`; whoever has no place for it
            leaves the argument alone and says `note`, or leaves it out if the rule is `harmless`.
        is_undecided: It is left alone, and `note` says what a person has to do.
        note: What a person has to know.
    """

    rule: Rule
    argument: str
    sets: tuple[tuple[str, Value], ...] = ()
    callback: Call | Expression | None = None
    is_undecided: bool = False
    note: str = ""


def ask(rule: Rule, argument: str, note: str = "") -> Edit:
    """Leaves an argument to a person.

    Args:
        rule: The rule.
        argument: The argument.
        note: What to do; that of the rule by default.
    """
    return Edit(rule, argument, is_undecided=True, note=note or rule.note)


def among(value: Value, values: Iterable[Value]) -> bool:
    """Tells whether a value is one of some; 1 is not true, and 0 is not false.

    Args:
        value: The value.
        values: The others.

    Example:
        >>> among(1, [True]), among(None, [False, None])
        (False, True)
    """
    return any(type(value) is type(one) and value == one for one in values)


def looked_up(rule: Rule, value: Value) -> tuple[tuple[str, Value], ...] | None:
    """Returns what a rule's table of values makes of a value.

    Args:
        rule: The rule.
        value: The old value.

    Returns:
        The arguments that take its place; None where it is not in the table.
    """
    for old, new in rule.values:
        if among(value, [old]):
            return tuple(new.items()) if isinstance(new, Mapping) else ((rule.new[0], new),)
    return None
