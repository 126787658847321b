"""Lists the runs here, the newest first.

polymodal runs status=failed since=7d
polymodal runs corpus=emodb 'test/uar>0.7' --sort test/uar -n 5
polymodal runs optimizer.lr=0.001 --columns optimizer.lr,model.width --csv

Filters compare a field of the record (status, experiment, kind, seed, parent), `corpus`, a score,
the time (since=, until=) or any key of the configuration; all that are given must hold. A word
without a sign is the beginning of an id.

polymodal runs status=failed until=30d --delete      asks before; --archive packs instead
polymodal runs --archived                            what was packed; --restore RUN brings it back
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.errors import ConfigError, RunError, nearest
from polymodal.schemas.run_record import STATUSES, score_direction
from polymodal.tracking.filters import (
    MISSING,
    WORD,
    Filter,
    matches,
    parse,
    validate_keys,
    value_of,
)

if TYPE_CHECKING:
    from rich.console import Console

    from polymodal.tracking.index import Listed

Known = tuple["Listed", Mapping[str, Any]]  # a run, and its configuration where it was asked for

COLOURS = {"finished": "green", "running": "cyan", "interrupted": "yellow"}
FIRST_SCORES = ("test/uar", "test/accuracy", "val/uar")
UNBOUNDED = 10_000  # width of a page that is a file or a pipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal runs`."""
    parser.add_argument("filters", nargs="*", metavar="KEY=VALUE", help="only runs like that")
    add_folder(parser)
    parser.add_argument("--csv", action="store_true", help="print CSV and nothing else")
    parser.add_argument(
        "--columns", metavar="KEY,...", help="further columns: scores, fields, keys of the config"
    )
    parser.add_argument(
        "--differ", action="store_true", help="a column for each key in which configs differ"
    )
    parser.add_argument("--status", choices=STATUSES, help="only runs that ended so")
    parser.add_argument("--experiment", metavar="WORDS", help="only experiments with these words")
    parser.add_argument("--sort", metavar="SCORE", help="the best of a score first")
    parser.add_argument("-n", type=_count, metavar="N", help="only the first N")
    parser.add_argument("--delete", action="store_true", help="delete what is listed; asks before")
    parser.add_argument(
        "--archive", action="store_true", help="pack what is listed into archive/; asks before"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--archived", action="store_true", help="list what was packed away")
    parser.add_argument(
        "--restore", action="append", metavar="RUN", help="bring a run back that was packed away"
    )


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is no number from 1 on")
    return int(word)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Declare where runs are looked for, and `--json`."""
    add_runs(parser)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Declare where runs are looked for."""
    default = os.environ.get("POLYMODAL_RUNS", "runs")
    message = "folder of the runs; may be given several times"
    parser.add_argument("--runs", default=default, metavar="DIR", action=_Roots, help=message)


class _Roots(argparse.Action):
    """Joins the folders of several `--runs` as POLYMODAL_RUNS does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        namespace.roots = [*getattr(namespace, "roots", ()), values]
        namespace.runs = os.pathsep.join(namespace.roots)


def main(arguments: argparse.Namespace) -> int:
    """Print the runs.

    Raises:
        RunError: No run has the score to sort by.
    """
    if (special := _special(arguments)) is not None:
        return special
    from polymodal.cli.listing import print_csv, print_table
    from polymodal.tracking.index import find_runs

    ids, filters = _parsed(arguments.filters)
    found, broken = find_runs(Path(arguments.runs))
    for line in broken:
        print(f"polymodal: skipped {plain(line)}", file=sys.stderr)
    asked = [one for one in (arguments.columns or "").split(",") if one]
    chosen = _choose(_matching(_named(found, ids), filters, asked), arguments)
    if arguments.delete or arguments.archive:
        from polymodal.cli.removal import remove

        return remove([one for one, _ in chosen], found, arguments)
    told, further = [one.record for one, _ in chosen], _further(chosen, asked, arguments)
    if arguments.json:
        print(json.dumps([record.to_dict() for record in told], indent=1))
    elif arguments.csv:
        print_csv(told, further)
    elif told:
        print_table(told, further)
    else:
        message = "no run here yet" if not found else "no run like that"
        print(f"{message} ({arguments.runs}); `polymodal run` makes one")
    return 0


def _special(arguments: argparse.Namespace) -> int | None:
    """Do what needs no list; None where one is needed."""
    if not (arguments.restore or arguments.archived or arguments.delete or arguments.archive):
        return None
    from polymodal.cli.removal import list_archived, require_none_running, restore_archived

    if arguments.restore:
        return restore_archived(arguments)
    if arguments.archived:
        return list_archived(arguments)
    require_none_running(arguments)
    return None


def _parsed(words: Sequence[str]) -> tuple[list[str], list[Filter]]:
    """Ids or their beginnings, and filters."""
    if not all(word.strip() for word in words):  # of a variable that is not set, such as "$RUN"
        raise ConfigError("an empty word says no run", hint="leave it out, or name a run")
    ids = [word for word in words if not WORD.fullmatch(word)]
    return ids, parse([word for word in words if word not in ids])


def _named(found: Sequence["Listed"], ids: Sequence[str]) -> list["Listed"]:
    """Those whose folder begins with one of some words; all where there is none."""
    for word in ids:
        if not any(one.path.name.startswith(word) for one in found):
            raise RunError(
                f"no run here begins with {word!r}",
                expected="the beginning of an id, or KEY=VALUE with =, !=, >, >=, < or <=",
                hint="such as status=failed, 'test/uar>0.7', since=7d or optimizer.lr=0.001",
            )
    return [one for one in found if not ids or one.path.name.startswith(tuple(ids))]


def _matching(
    found: Sequence["Listed"], filters: Sequence[Filter], asked: Sequence[str]
) -> list[Known]:
    """Those for which all filters hold, with their configurations where a key asks for them."""
    keys = [one.key for one in filters] + [*asked]
    configs: Sequence[Mapping[str, Any]] = [{}] * len(found)
    if any(Filter(key, "=", "").asks_config for key in keys):
        configs = configs_of(found)
    validate_keys(keys, [one.record for one in found], configs)
    pairs = zip(found, configs, strict=True)
    return [(one, config) for one, config in pairs if matches(one.record, filters, config)]


def configs_of(found: Sequence["Listed"]) -> list[Mapping[str, Any]]:
    """Read the configurations of runs, each parsed once for all times.

    Returns:
        Their configurations, in the same order.
    """
    from polymodal.tracking.config_diff import read_configs

    roots = dict.fromkeys(one.path.parent for one in found)
    names = {root: [one.path.name for one in found if one.path.parent == root] for root in roots}
    read = {root: read_configs(root, of) for root, of in names.items()}
    return [read[one.path.parent][one.path.name] for one in found]


def _further(
    chosen: Sequence[Known], asked: Sequence[str], arguments: argparse.Namespace
) -> dict[str, list[str]]:
    """Columns that were asked for: heading to cells."""
    columns = {
        name: [cell(value_of(one.record, name, config)) for one, config in chosen] for name in asked
    }
    if len({one.path.parent for one, _ in chosen}) > 1:
        columns["folder"] = [str(one.path.parent) for one, _ in chosen]
    if arguments.differ and chosen:
        from polymodal.tracking.config_diff import config_diff

        result = config_diff(configs_of([one for one, _ in chosen]))
        columns |= {key: [*map(cell, values)] for key, values in result.items()}
    return columns


def _choose(known: Sequence[Known], arguments: argparse.Namespace) -> list[Known]:
    chosen = [
        (one, config)
        for one, config in known
        if arguments.status in (None, one.record.status)
        and (arguments.experiment or "") in one.record.experiment
    ]
    if arguments.sort and chosen:
        chosen = _best_first(chosen, arguments.sort)
    return chosen[: arguments.n]


def cell(value: Any) -> str:
    """Write a value of a configuration or record.

    Args:
        value: Any plain value; nothing for what is missing.
    """
    if value is MISSING or value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _best_first(known: Sequence[Known], score: str) -> list[Known]:
    """Sort by a score; runs that lack it come last, equal ones stay as they were."""
    names = {name for one, _ in known for name in one.record.scores}
    if score not in names:
        raise RunError(f"no run here has the score {score!r}", hint=nearest(score, names))
    higher = score_direction(score, (one.record for one, _ in known))
    if higher is None:
        message = f"no run says whether a higher {score} is better: the highest come first"
        print(f"note: {message}", file=sys.stderr)
    sign = 1 if higher is False else -1

    def place(one: Known) -> tuple[bool, float]:
        value = one[0].record.scores.get(score)
        return value is None, 0.0 if value is None else sign * value

    return sorted(known, key=place)


def console() -> "Console":
    """Return the page to print on: as wide as the terminal, or without end in a file or pipe."""
    from rich.console import Console

    page = Console(highlight=False)
    return page if page.is_terminal else Console(highlight=False, width=UNBOUNDED)


def shown_scores(scores: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Return the names of the scores that a list of runs is told by.

    Returns:
        Those of `FIRST_SCORES` that are there, else the first three, test before the others.

    Example:
        >>> shown_scores([{"val/ccc_arousal": 0.4, "test/ccc_arousal": 0.3}])
        ['test/ccc_arousal', 'val/ccc_arousal']
    """
    names = {name for score in scores for name in score}
    first = [name for name in FIRST_SCORES if name in names]
    return first or sorted(names, key=part_order)[:3]


def part_order(name: str) -> tuple[bool, str]:
    """Order the names of scores: those of the test part first.

    Args:
        name: `<part>/<score>`.
    """
    return not name.startswith("test/"), name


def number(value: float | None) -> str:
    """Write a score.

    Args:
        value: Its value; None where it is no number.
    """
    return "" if value is None else f"{value:.3f}"


def plain(text: object) -> str:
    r"""Returns text that cannot steer a terminal: a record may come from somebody else.

    Example:
        >>> plain("a\x1b[31mb\n")
        'a?[31mb?'
    """
    words = str(text)
    if words.isprintable():
        return words
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def span(seconds: float) -> str:
    """Return a length of time in one unit.

    Returns:
        Such as `3.2 s`, `4 min`, `2 h` or `5 d`.

    Example:
        >>> span(3.21), span(200), span(7300), span(200000)
        ('3.2 s', '3 min', '2 h', '2 d')
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.1f} s"


def number_of_bytes(num_bytes: float) -> str:
    """Write a size.

    Example:
        >>> number_of_bytes(123), number_of_bytes(2_500_000)
        ('123 B', '2.5 MB')
    """
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} GB"
