"""Overrides of the command line as Hydra can parse them: text that it would reject is quoted."""

import re
import shlex
from collections.abc import Sequence
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from polymodal.config.nested_overrides import CLOSING, OPENING, QUOTES, list_items, quoted
from polymodal.config.run_encoders import addable_overrides
from polymodal.errors import ConfigError

KEY_AND_VALUE = re.compile(r"(?P<key>[+~]{0,2}[^\s=+~][^\s=]*)=(?P<value>.*)", re.DOTALL)
FUNCTION = re.compile(r"\w+\(")  # such as choice(0.1, 0.2), of sweeps


class OverrideError(ConfigError):
    """One override of the command line cannot be used: correct it.

    Args:
        override: The override as it was given.
        message: As in `UserError`.
        expected: As in `UserError`.
        hint: As in `UserError`.
    """

    def __init__(self, override: str, message: str, *, expected: str = "", hint: str = "") -> None:
        super().__init__(message, expected=expected, hint=hint)
        self.override = override

    def __str__(self) -> str:
        first, _, rest = super().__str__().partition("\n")
        return "\n".join(filter(None, [first, f"  at: the command line ({self.override})", rest]))

    def __reduce__(self) -> tuple[type["OverrideError"], tuple[str, str], dict[str, str]]:
        state = {"expected": self.expected, "hint": self.hint}
        return type(self), (self.override, self.message), state


def in_hydra_grammar(overrides: Sequence[str]) -> list[str]:
    """Return overrides as Hydra can parse them.

    Raises:
        OverrideError: One is not KEY=VALUE, or its value is neither text, a list nor a mapping.

    Example:
        >>> in_hydra_grammar(["seed=1", "corpus.root=/data/my corpus (v2)"])
        ['seed=1', "corpus.root='/data/my corpus (v2)'"]
    """
    return [_parsable(quoted(override)) for override in addable_overrides(overrides)]


def parse(override: str) -> Override:
    """Return an override as Hydra has parsed it.

    Raises:
        OverrideError: As of `in_hydra_grammar`.
    """
    return _parser().parse_override(_parsable(quoted(override)))


def as_one_text(key: str, value: str) -> str:
    """Return the word to type in a shell that sets an option to a text with commas.

    Example:
        >>> print(as_one_text("corpus.root", "/data/a,b"))
        'corpus.root="/data/a,b"'
    """
    return shlex.quote(f"{key}={QuotedString(text=value, quote=Quote.double).with_quotes()}")


def quoted_text(value: str) -> str:
    """Return a text in quotation marks of Hydra's grammar."""
    return QuotedString(text=value, quote=Quote.single).with_quotes()


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _is_parsable(override: str) -> bool:
    try:
        _parser().parse_override(override)
    except HydraException:
        return False
    return True


def _parsable(override: str) -> str:
    if "=" not in override and not override.startswith("~"):
        raise _no_value(override)
    if override.lstrip("+~")[:1] not in ("", "=") and _is_parsable(override):
        return override
    match = KEY_AND_VALUE.fullmatch(override)
    if match is None or not _is_parsable(f"{match['key']}=1"):
        raise OverrideError(
            override,
            f"{override!r} names no option",
            expected="KEY=VALUE; a key has the letters a to z, digits, _ and dots",
            hint="options with other names can be set in a file of configs/",
        )
    key, value = match["key"], match["value"]
    changed = f"{key}={','.join(_quoted_value(item) for item in list_items(value))}"
    if value.endswith(",") or not _is_parsable(changed):
        raise _unclear(override, key, value)
    return changed


def _quoted_value(value: str) -> str:
    """Put what Hydra cannot parse in quotation marks: text, the items of lists, and mappings."""
    if _is_parsable(f"key={value}") or not value:
        return value
    if value[0] == "[" and value[-1] == "]":
        return f"[{','.join(map(_quoted_value, list_items(value[1:-1])))}]"
    if value[0] == "{" and value[-1] == "}":
        pairs = [item.partition(":") for item in list_items(value[1:-1])]
        return f"{{{','.join(f'{name}:{_quoted_value(text.strip())}' for name, _, text in pairs)}}}"
    if value[0] in ("[", "{", *QUOTES) or FUNCTION.match(value):
        return value
    return quoted_text(value)


def _no_value(override: str) -> OverrideError:
    name, _, value = override.partition(":")
    if value and re.fullmatch(r"[\w.]+", name):
        hint = f"write = in place of the colon: {name}={value.strip()}"
    elif override.endswith((".yaml", ".yml")):
        name = override.rpartition("experiment/")[2].rpartition(".")[0]
        hint = f"name an experiment of configs/experiment/ as experiment={name}"
    elif override == "last":
        hint = (
            "continue a run with resume=last, repeat it with --again last, or vary it with --from"
        )
    else:
        hint = "write the key, =, and the value without blanks around the ="
    return OverrideError(
        override,
        f"{override!r} is not an option with a value",
        expected="KEY=VALUE, such as trainer.max_epochs=5",
        hint=hint,
    )


def _unclear(override: str, key: str, value: str) -> OverrideError:
    pairs = dict(zip(OPENING, CLOSING, strict=True))
    closing = pairs.get(value[:1]) or (value[:1] if value[:1] in QUOTES else "")
    if closing and not value.endswith(closing):
        message = f"{override!r} has a {value[0]} that is not closed"
    else:
        message = f"the value of {override!r} cannot be read"
    return OverrideError(
        override,
        message,
        expected="a text, a list such as [a, b], or a mapping such as {a: 1} with keys of a to z",
        hint=f"if it is one text, type {as_one_text(key, value)}",
    )
