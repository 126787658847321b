"""Takes secrets out of everything before it is written: by key and by value."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "***"
SHORTEST = 6
# Words that make a key secret wherever they stand in it. `token` does only at the end, and not for
# the special tokens of a text encoder: `tokenizer`, `num_tokens`, `pad_token` are no secrets.
ANYWHERE = (
    r"(?:passw(?:or)?d|passphrase|secret|credential|api_?key|access_?key|private_?key|webhook"
    r"|authorization)"
)
TOKEN = r"(?<!pad_)(?<!cls_)(?<!sep_)(?<!bos_)(?<!eos_)(?<!unk_)(?<!mask_)token"
SECRET_KEY = re.compile(rf"{ANYWHERE}|{TOKEN}\d*$", re.I)
INTERPOLATION = re.compile(r"""\$\{[\w.:]+(?:,\s*(?:null|''|"")?)?\}""")
HARMLESS = ("null", "none", "true", "false", "~", "")
# A plain value ends with its word after `=`, and with its line after `:`.
IN_TEXT = re.compile(
    rf"""(?P<key>(?:{ANYWHERE}[\w\-]{{0,40}}|{TOKEN}\d*)"""
    r"""["']?[ \t]{0,8}(?:=|(?P<colon>:))[ \t]{0,8})"""
    r"""(?P<value>"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\$\{[^}\n]*\}"""
    r"""|(?(colon)[^\n,}\]"']+|(?:(?:bearer|basic)[ ]+)?[^\s,}\]"']+))""",
    re.I,
)
IN_ADDRESS = re.compile(r"(?<=://)([^\s:/@]{1,100}:)[^\s/@]{1,200}(?=@)")


def redact(value: Any, key: str = "") -> Any:
    """Returns nested plain data without its secrets.

    Args:
        value: Mappings, lists and plain values; strings of a list may be words of a command line.
        key: The key that the value stands under.

    Returns:
        A copy, of the same form.

    Example:
        >>> redact({"api_key": "abc123", "lr": 0.1, "command": ["run", "tracker.token=a b"]})
        {'api_key': '***', 'lr': 0.1, 'command': ['run', 'tracker.token=***']}
    """
    return _redact(value, bool(SECRET_KEY.search(key)), _environment_secrets())


def redact_text(text: str) -> str:
    """Returns text without values of secret keys and of secret environment variables.

    Args:
        text: Any text: a log, a traceback, a diff.

    Returns:
        The text with `***` in their place.

    Example:
        >>> redact_text("tracker.token=abcdef num_tokens=8 https://me:pass@host")
        'tracker.token=*** num_tokens=8 https://me:***@host'
    """
    return _redact_text(text, _environment_secrets())


def redact_yaml(text: str) -> str:
    r"""Returns YAML without its secrets; without any it stays as it is, letter by letter.

    Args:
        text: YAML, interpolations of the environment unresolved.

    Returns:
        YAML of the same keys.

    Example:
        >>> redact_yaml("token: [a, b]\nkey: ${oc.env:MY_TOKEN}\n")
        "token:\n- '***'\n- '***'\nkey: ${oc.env:MY_TOKEN}\n"
    """
    import yaml  # here, so that listing runs does not pay for it

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        return redact_text(text)
    clean = redact(values)
    if clean == values:
        return text
    dumped: str = yaml.safe_dump(clean, sort_keys=False, allow_unicode=True)
    return dumped


def redact_words(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line without their secrets.

    Args:
        words: Such as Hydra's overrides, `key=value`.

    Returns:
        The words; of a secret key the whole value is hidden, commas and spaces included.

    Example:
        >>> redact_words(["+tracker.password='a, b'", "lr=0.1"])
        ['+tracker.password=***', 'lr=0.1']
    """
    secrets = _environment_secrets()
    return [_redact_word(word, secrets) for word in words]


def _redact(value: Any, secret: bool, secrets: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        keys = {name: secret or bool(SECRET_KEY.search(str(name))) for name in value}
        return {name: _redact(one, keys[name], secrets) for name, one in value.items()}
    if isinstance(value, list | tuple):
        if secret:
            return [_redact(one, secret, secrets) for one in value]
        return [
            _redact_word(one, secrets) if isinstance(one, str) else _redact(one, secret, secrets)
            for one in value
        ]
    if secret and not _harmless(value):
        return HIDDEN
    return _redact_text(value, secrets) if isinstance(value, str) else value


def _redact_word(word: str, secrets: Sequence[str]) -> str:
    key, equals, value = word.partition("=")
    if equals and SECRET_KEY.search(key) and not _harmless(value):
        return f"{_by_value(key, secrets)}={HIDDEN}"
    return _redact_text(word, secrets)


def _redact_text(text: str, secrets: Sequence[str]) -> str:
    return IN_ADDRESS.sub(rf"\1{HIDDEN}", IN_TEXT.sub(_hide, _by_value(text, secrets)))


def _by_value(text: str, secrets: Sequence[str]) -> str:
    for value in secrets:
        text = text.replace(value, HIDDEN)
    return text


def _hide(match: re.Match[str]) -> str:
    value = match["value"]
    if _harmless(value):
        return match[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match['key']}{quote}{HIDDEN}{quote}"


def _harmless(value: Any) -> bool:
    if not isinstance(value, str):
        return value is None or isinstance(value, bool)
    bare = value.strip("\"' \t")
    return bare.lower() in HARMLESS or INTERPOLATION.fullmatch(bare) is not None


def _environment_secrets() -> list[str]:
    """Values of secret variables, the longest first; a path that exists is no secret."""
    values = {value for name, value in os.environ.items() if SECRET_KEY.search(name)}
    long = (value for value in values if len(value) >= SHORTEST)
    kept = (value for value in long if not (value.startswith("/") and os.path.exists(value)))
    return sorted(kept, key=lambda value: (-len(value), value))
