"""Overrides within an override: `study.with.speech=[optimizer.lr=0.01]` as Hydra can parse it."""

import re
from collections.abc import Iterator

# The options of a study whose values are overrides; those of `with` need not be there before.
HOLDS_OVERRIDES = re.compile(
    r"(?P<add>\+{0,2})(?P<key>study\.(?P<name>protocol|shared|with\.[^.=]+))="
)
OPENING, CLOSING, QUOTES = "[{(", "]})", "'\""


def quoted(override: str) -> str:
    """Put the overrides that a study's option has as its value in quotation marks.

    Hydra's grammar has no `=` in a value without them, and does not add a key without a `+`.

    Returns:
        The same for Hydra; an override of another option as it is.

    Example:
        >>> quoted("study.shared=[trainer.max_epochs=5,seed=1]")
        'study.shared=["trainer.max_epochs=5","seed=1"]'
        >>> quoted("study.with.speech=optimizer.lr=0.1 seed=1")
        '++study.with.speech="optimizer.lr=0.1 seed=1"'
        >>> quoted("optimizer.lr=0.1")
        'optimizer.lr=0.1'
    """
    match = HOLDS_OVERRIDES.match(override)
    if match is None:
        return override
    value = override[match.end() :].strip()
    if value.startswith("["):
        if not value.endswith("]"):
            return override  # Hydra says where it does not parse
        value = f"[{','.join(_marked(item) for item in list_items(value[1:-1]))}]"
    else:
        value = _marked(value)
    add = "++" if match["name"].startswith("with.") else match["add"]
    return f"{add}{match['key']}={value}"


def _marked(item: str) -> str:
    if "=" not in item or item[0] in QUOTES:
        return item
    escaped = item.replace('"', '\\"')
    return f'"{escaped}"'


def list_items(text: str) -> Iterator[str]:
    """Yield the items between commas; brackets and quotation marks may hold further commas.

    Example:
        >>> list(list_items("a, [b, c], 'd,e'"))
        ['a', '[b, c]', "'d,e'"]
    """
    depth, mark, start = 0, "", 0
    for index, character in enumerate(text):
        if mark:
            mark = "" if character == mark else mark
        elif character in QUOTES:
            mark = character
        elif character in OPENING or character in CLOSING:
            depth += 1 if character in OPENING else -1
        elif character == "," and depth == 0:
            yield text[start:index].strip()
            start = index + 1
    if text[start:].strip():
        yield text[start:].strip()
