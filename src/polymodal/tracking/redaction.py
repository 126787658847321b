"""Redact secrets before anything is written: by key, by value and by shape."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

HIDDEN = "***"
MIN_SECRET_LENGTH = 6
MIN_REMEMBERED_LENGTH = 8
LONG_LINE = 16
# Words that make a key secret wherever they stand in it.
ANYWHERE = (
    r"(?:passw(?:or)?d|passphrase|secret|credential|webhook|authorization"
    r"|(?:api|access|private|signing|encryption|ssh|auth)[_-]?key)"
)
# `token` does only at the end, and not where a text encoder or a count means it:
# `tokenizer`, `num_tokens`, `pad_token`, `max_token` are not secrets.
TOKEN = (
    r"(?<!pad_)(?<!cls_)(?<!sep_)(?<!bos_)(?<!eos_)(?<!unk_)(?<!mask_)(?<!blank_)(?<!start_)"
    r"(?<!end_)(?<!class_)(?<!special_)(?<!max_)(?<!min_)(?<!num_)(?<!per_)token"
)
LAST = rf"(?:{TOKEN}\d*|(?<![a-z])auth|(?<=[_.-])pwd)"
SECRET_KEY = re.compile(rf"{ANYWHERE}|{LAST}$", re.I)
# Environment variables such as STRIPE_KEY, if their value looks random.
LOOSE_NAME = re.compile(r"(?:^|_)(?:KEY|PAT|PASS|DSN)$", re.I)
RANDOM = re.compile(r"(?=.*\d)(?=.*[a-z])[^\s/]{16,}", re.I)
INTERPOLATION = re.compile(r"""\$\{[\w.:]+(?:,\s*(?:null|''|"")?)?\}""")
HARMLESS = ("null", "none", "true", "false", "~", "")
# A plain value ends with its word after `=`, and with its line after `:`; a comma, bracket or
# quote within it ends it only where the next key, or nothing, follows.
INSIDE = r"""[,)}\]"'](?=[^\s,)}\]"':=])(?!\w{1,60}["']?[ ]?[:=])"""
IN_TEXT = re.compile(
    rf"""(?P<key>(?:{ANYWHERE}[\w\-]{{0,40}}|{LAST})"""
    r"""["']?[ \t]{0,8}(?:=|(?P<colon>:))[ \t]{0,8})"""
    r"""(?P<value>"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\$\{[^}\n]*\}"""
    rf"""|(?(colon)(?:[^\n,)}}\]"']|{INSIDE})+"""
    rf"""|(?:(?:bearer|basic)[ ]+)?(?:[^\s,)}}\]"']|{INSIDE})+))""",
    re.I,
)
IN_ADDRESS = re.compile(r"(?<=://)(?:([^\s:/@]{1,100}:)[^\s/@]{1,200}|[^\s:/@]{20,200})(?=@)")
# What the services themselves mark as a secret.
SHAPE = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{30,}|gh[opsur]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}"
    r"|sk-(?=[\w-]{0,99}\d)[\w-]{20,}|xox[abps]-[\w-]{10,}|wandb_v\d_\w{20,}|AKIA[0-9A-Z]{16}\b)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
# A value hidden by its key once is hidden everywhere from then on, as in a traceback.
_remembered: set[str] = set()


def redact(value: Any, key: str = "") -> Any:
    """Return nested plain data without its secrets; strings of a list may be a command line.

    Example:
        >>> redact({"api_key": "abc123", "lr": 0.1, "command": ["run", "tracker.token=a b"]})
        {'api_key': '***', 'lr': 0.1, 'command': ['run', 'tracker.token=***']}
    """
    secret, num_known = bool(SECRET_KEY.search(key)), len(_remembered)
    clean = _redact(value, secret, _known_secrets())
    # A secret that was met late in the data may stand without its key earlier in it.
    return clean if len(_remembered) == num_known else _redact(value, secret, _known_secrets())


def redact_text(text: str) -> str:
    """Replace values of secret keys, secret environment variables and known shapes by `***`.

    Example:
        >>> redact_text("tracker.token=abcdef num_tokens=8 https://me:pass@host")
        'tracker.token=*** num_tokens=8 https://me:***@host'
    """
    return _redact_text(text, _known_secrets())


def redact_yaml(text: str) -> str:
    r"""Return YAML without its secrets; without any it stays as it is, character by character.

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


def redact_words(arguments: Sequence[str]) -> list[str]:
    """Redact the words of a command line; a secret key hides its value up to the last word.

    Example:
        >>> redact_words(["+tracker.password='a, b'", "lr=0.1", "--token", "abc"])
        ['+tracker.password=***', 'lr=0.1', '--token', '***']
    """
    return [str(word) for word in redact(list(arguments))]


def _redact(value: Any, secret: bool, secrets: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            _by_value(name, secrets) if isinstance(name, str) else name: _redact(
                nested, secret or bool(SECRET_KEY.search(str(name))), secrets
            )
            for name, nested in value.items()
        }
    if isinstance(value, list | tuple):
        if not secret:
            return _items(value, secrets)
        return [_redact(nested, secret, secrets) for nested in value]
    if secret and not _harmless(value):
        return _hidden(value)
    return _redact_text(value, secrets) if isinstance(value, str) else value


def _items(items: Sequence[Any], secrets: Sequence[str]) -> list[Any]:
    """Redact a list, whose strings may be words of a command line."""
    clean: list[Any] = []
    asked = False  # the word before was `--token`
    for item in items:
        if not isinstance(item, str):
            clean.append(_redact(item, False, secrets))
        elif asked and not item.startswith("-"):
            clean.append(_hidden(item))
        else:
            clean.append(_word(item, secrets))
        asked = isinstance(item, str) and item.startswith("--") and bool(SECRET_KEY.search(item))
    return clean


def _word(word: str, secrets: Sequence[str]) -> str:
    key, equals, value = word.partition("=")
    if equals and SECRET_KEY.search(key) and not _harmless(value):
        return f"{_by_value(key, secrets)}={_hidden(value)}"
    return _redact_text(word, secrets)


def _redact_text(text: str, secrets: Sequence[str]) -> str:
    shaped = SHAPE.sub(HIDDEN, _by_value(text, secrets))
    return IN_ADDRESS.sub(rf"\1{HIDDEN}", IN_TEXT.sub(_hide, shaped))


def _by_value(text: str, secrets: Sequence[str]) -> str:
    for value in secrets:
        text = text.replace(value, HIDDEN)
    return text


def _hide(match: re.Match[str]) -> str:
    value = match["value"]
    if _harmless(value):
        return match[0]
    mark = value[0] if value[0] in "\"'" else ""
    return f"{match['key']}{mark}{HIDDEN}{mark}"


def _harmless(value: Any) -> bool:
    if not isinstance(value, str):
        return value is None or isinstance(value, bool)
    bare = value.strip("\"' \t")
    return bare.lower() in HARMLESS or INTERPOLATION.fullmatch(bare) is not None


def _hidden(value: Any) -> str:
    """Remember a secret, unless it is a plain word that would be missed elsewhere."""
    bare = str(value).strip("\"' \t")
    if len(bare) >= MIN_REMEMBERED_LENGTH and not re.fullmatch(r"[A-Z]?[a-z]+", bare):
        _remembered.add(bare)
    return HIDDEN


def _known_secrets() -> list[str]:
    """Return the values of secret variables and remembered ones, in every spelling."""
    values = {value for name, value in os.environ.items() if _is_secret(name, value)}
    values |= {line for value in values for line in value.splitlines() if len(line) >= LONG_LINE}
    # A path that exists is not a secret.
    secrets = [
        text for text in values | _remembered if not (text[0] == "/" and os.path.exists(text))
    ]
    written = {*secrets}
    for text in secrets:
        written |= {repr(text)[1:-1], json.dumps(text)[1:-1], quote(text, safe="")}
    return sorted(written, key=lambda text: (-len(text), text))  # the longest first


def _is_secret(name: str, value: str) -> bool:
    if SECRET_KEY.search(name):
        return len(value) >= MIN_SECRET_LENGTH
    return bool(LOOSE_NAME.search(name) and RANDOM.fullmatch(value))
