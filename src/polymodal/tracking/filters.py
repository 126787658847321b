"""Filter runs by words such as `status=failed`, `test/uar>0.7`, `since=7d`, `seed=1`."""

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from polymodal.errors import ConfigError, RunError, nearest
from polymodal.schemas.run_record import STATUSES, RunRecord

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
WORD = re.compile(r"(?P<key>[^=<>!]+)(?P<sign>>=|<=|!=|=|>|<)(?P<value>.*)", re.DOTALL)
TIMES = ("since", "until")
SPANS_S = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
# Fields of a record that are one word or number.
PLAIN = ("run_id", "name", "status", "experiment", "kind", "parent", "seed", "duration_s", "error")
MISSING = object()


@dataclass(frozen=True)
class Filter:
    """A condition on a run."""

    # A field of the record, a score, `corpus`, `since`, `until`, or a dotted key of the
    # configuration
    key: str
    sign: str  # one of `OPERATORS`
    value: str  # what it is compared with, as text

    @property
    def asks_config(self) -> bool:
        """Whether the configuration of a run is needed."""
        return self.key not in (*PLAIN, *TIMES, "corpus") and "/" not in self.key


def parse(texts: Sequence[str], now: datetime | None = None) -> list[Filter]:
    """Parse filters such as `status=failed` or `test/uar>0.7`; times become UTC in ISO 8601.

    Args:
        texts: The filters.
        now: What `since=7d` counts from; the present by default.

    Raises:
        ConfigError: A word is not a filter, or its value cannot be used.

    Example:
        >>> parse(["test/uar>=0.7"])
        [Filter(key='test/uar', sign='>=', value='0.7')]
    """
    return [_parse(word, now or datetime.now(UTC)) for word in texts]


def matches(record: RunRecord, filters: Sequence[Filter], config: Mapping[str, Any]) -> bool:
    """Return whether all filters hold; without the key of a run only `!=` does.

    `config` is the configuration; it may be empty if no filter asks for it.
    """
    return all(_holds(condition, value_of(record, condition.key, config)) for condition in filters)


def value_of(record: RunRecord, key: str, config: Mapping[str, Any]) -> Any:
    """Return the value of a key of `Filter` in a run, or `MISSING`."""
    if key in TIMES:
        return record.started
    if key == "corpus":
        return record.experiment.partition("/")[0]
    if key in PLAIN:
        return getattr(record, key)
    if "/" in key:
        return record.scores.get(key, MISSING)
    value: Any = config
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return MISSING
        value = value[name]
    return value


def validate_keys(
    keys: Sequence[str], records: Sequence[RunRecord], configs: Sequence[Mapping[str, Any]]
) -> None:
    """Reject a key that no run has, as it is misspelt more often than meant.

    Raises:
        RunError: There is one.
    """
    for key in keys if records else ():
        if key in (*PLAIN, *TIMES, "corpus"):
            continue
        pairs = zip(records, configs, strict=True)
        if all(value_of(record, key, config) is MISSING for record, config in pairs):
            if "/" in key:
                names = {name for record in records for name in record.scores}
            else:
                names = {name for config in configs for name in _keys(config)}
                names |= {*PLAIN, *TIMES, "corpus"}
            raise RunError(f"no run here has {key!r}", hint=nearest(key, names))


def _keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{name}.")


def _parse(word: str, now: datetime) -> Filter:
    match = WORD.fullmatch(word)
    if match is None:
        raise ConfigError(
            f"{word!r} is not a filter",
            expected="KEY=VALUE, or !=, >, >=, <, <= between them",
            hint="such as status=failed, 'test/uar>0.7', since=7d or optimizer.lr=0.001",
        )
    key, sign, value = match["key"].strip(), match["sign"], match["value"].strip()
    if key in TIMES:
        if sign != "=":
            raise ConfigError(
                f"{word!r} is not a filter",
                expected=f"{key}=TIME: since is from then on, until before",
            )
        return Filter(key, ">=" if key == "since" else "<", _time(value, now).isoformat())
    if key == "status" and value not in STATUSES:
        raise ConfigError(f"there is no status {value!r}", hint=nearest(value, STATUSES))
    if sign not in ("=", "!=") and _number(value) is None:
        raise ConfigError(
            f"{word!r} compares with {value!r}, which is not a number",
            expected=f"{key}{sign}NUMBER",
            hint=f"compare words with {key}={value}",
        )
    misspelt = key not in PLAIN and key != "corpus" and "/" not in key and "." not in key
    if misspelt and key in {field.name for field in fields(RunRecord)}:
        raise ConfigError(f"{key} is not one value", expected=f"one of {', '.join(PLAIN)}")
    return Filter(key, sign, value)


def _time(value: str, now: datetime) -> datetime:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)", value)
    try:
        if match:
            return now - timedelta(seconds=float(match[1]) * SPANS_S[match[2]])
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):  # no time, or none that a calendar has
        raise ConfigError(
            f"{value!r} is not a time", expected="such as 7d, 12h, 30min, or 2026-03-01"
        ) from None


def _holds(condition: Filter, value: Any) -> bool:
    if value is MISSING or value is None:
        if condition.value in ("null", "None") and condition.sign in ("=", "!="):
            return (value is None) == (condition.sign == "=")
        return condition.sign == "!="
    if condition.key in TIMES:
        return _compare_times(condition, str(value))
    expected, number = _number(condition.value), _number(value)
    if expected is not None and number is not None:
        return OPERATORS[condition.sign](number, expected)
    if condition.sign not in ("=", "!="):
        return False
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return OPERATORS[condition.sign](text, condition.value)


def _compare_times(condition: Filter, started: str) -> bool:
    try:
        moment = datetime.fromisoformat(started)
        return OPERATORS[condition.sign](moment, datetime.fromisoformat(condition.value))
    except (TypeError, ValueError):  # no time, or one without its zone
        return False


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number
