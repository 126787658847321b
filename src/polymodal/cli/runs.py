"""List the runs, the newest first.

polymodal runs status=failed since=7d
polymodal runs corpus=emodb 'test/uar>0.7' --sort test/uar -n 5
polymodal runs optimizer.lr=0.001 --columns optimizer.lr,model.width --csv

Filters compare a field of the record (status, experiment, kind, seed, parent), `corpus`, a score,
the time (since=, until=) or any key of the configuration; all of them must match. A word without
an operator is a prefix of a run id.

polymodal runs status=failed until=30d --delete      after a prompt; --archive packs instead
polymodal runs --archived                            list archived runs; --restore RUN restores one
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli._arguments import add_folder
from polymodal.cli._format import format_value, plain
from polymodal.errors import ConfigError, RunError, nearest
from polymodal.schemas.run_record import STATUSES, score_direction
from polymodal.tracking.filters import WORD, Filter, matches, parse, validate_keys, value_of

if TYPE_CHECKING:
    from polymodal.tracking.index import Listed

Selected = tuple["Listed", Mapping[str, Any]]  # a run and its configuration, if it was requested


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal runs`."""
    parser.add_argument("filters", nargs="*", metavar="KEY=VALUE", help="filter runs")
    add_folder(parser)
    parser.add_argument("--csv", action="store_true", help="print CSV and nothing else")
    parser.add_argument(
        "--columns", metavar="KEY,...", help="more columns: scores, fields, keys of the config"
    )
    parser.add_argument(
        "--differ", action="store_true", help="a column for each key in which configs differ"
    )
    parser.add_argument("--status", choices=STATUSES, help="filter by status")
    parser.add_argument("--experiment", metavar="TEXT", help="filter by part of the name")
    parser.add_argument("--sort", metavar="SCORE", help="sort by a score, best first")
    parser.add_argument("-n", type=_count, metavar="N", help="show the first N only")
    parser.add_argument(
        "--delete", action="store_true", help="delete what is listed, after a prompt"
    )
    parser.add_argument(
        "--archive", action="store_true", help="pack what is listed, after a prompt"
    )
    parser.add_argument("--yes", action="store_true", help="do not prompt")
    parser.add_argument("--archived", action="store_true", help="list archived runs")
    parser.add_argument("--restore", action="append", metavar="RUN", help="restore an archived run")


def _count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a positive number")
    return int(value)


def main(arguments: argparse.Namespace) -> int:
    """Print the runs.

    Raises:
        RunError: No run has the score to sort by.
    """
    if (special := _run_special(arguments)) is not None:
        return special
    from polymodal.cli._format import print_csv, print_table
    from polymodal.tracking.index import find_runs

    ids, filters = _parsed(arguments.filters)
    listed, broken = find_runs(Path(arguments.runs))
    for line in broken:
        print(f"polymodal: skipped {plain(line)}", file=sys.stderr)
    columns = [name for name in (arguments.columns or "").split(",") if name]
    chosen = _choose(_matching(_with_prefix(listed, ids), filters, columns), arguments)
    if arguments.delete or arguments.archive:
        from polymodal.cli.removal import remove

        return remove([run for run, _ in chosen], listed, arguments)
    records, extra = [run.record for run, _ in chosen], _extra_columns(chosen, columns, arguments)
    if arguments.json:
        print(json.dumps([record.to_dict() for record in records], indent=1))
    elif arguments.csv:
        print_csv(records, extra)
    elif records:
        print_table(records, extra)
    else:
        message = "no run here yet" if not listed else "no matching run"
        print(f"{message} ({arguments.runs}); `polymodal run` creates one")
    return 0


def _run_special(arguments: argparse.Namespace) -> int | None:
    """Restore or list archived runs; return None if the list of runs is needed."""
    if not (arguments.restore or arguments.archived or arguments.delete or arguments.archive):
        return None
    from polymodal.cli.removal import list_archived, require_none_running, restore_archived

    if arguments.restore:
        return restore_archived(arguments)
    if arguments.archived:
        return list_archived(arguments)
    require_none_running(arguments)
    return None


def _parsed(arguments: Sequence[str]) -> tuple[list[str], list[Filter]]:
    """Return prefixes of ids, and filters."""
    if not all(argument.strip() for argument in arguments):  # such as "$RUN" of an unset variable
        raise ConfigError("an empty argument names no run", hint="leave it out, or name a run")
    ids = [argument for argument in arguments if not WORD.fullmatch(argument)]
    return ids, parse([argument for argument in arguments if argument not in ids])


def _with_prefix(listed: Sequence["Listed"], ids: Sequence[str]) -> list["Listed"]:
    """Return the runs whose id starts with one of the prefixes; all if there are none."""
    for prefix in ids:
        if not any(run.path.name.startswith(prefix) for run in listed):
            raise RunError(
                f"no run id starts with {prefix!r}",
                expected="a prefix of an id, or KEY=VALUE with =, !=, >, >=, < or <=",
                hint="such as status=failed, 'test/uar>0.7', since=7d or optimizer.lr=0.001",
            )
    return [run for run in listed if not ids or run.path.name.startswith(tuple(ids))]


def _matching(
    listed: Sequence["Listed"], filters: Sequence[Filter], columns: Sequence[str]
) -> list[Selected]:
    """Return the runs that match all filters, with their configurations if a key needs them."""
    keys = [*(condition.key for condition in filters), *columns]
    configs: Sequence[Mapping[str, Any]] = [{}] * len(listed)
    if any(Filter(key, "=", "").asks_config for key in keys):
        configs = configs_of(listed)
    validate_keys(keys, [run.record for run in listed], configs)
    pairs = zip(listed, configs, strict=True)
    return [(run, config) for run, config in pairs if matches(run.record, filters, config)]


def configs_of(listed: Sequence["Listed"]) -> list[Mapping[str, Any]]:
    """Read the configurations of runs, in their order, from a cache of parsed files."""
    from polymodal.tracking.config_diff import read_configs

    roots = dict.fromkeys(run.path.parent for run in listed)
    names = {root: [run.path.name for run in listed if run.path.parent == root] for root in roots}
    read = {root: read_configs(root, of) for root, of in names.items()}
    return [read[run.path.parent][run.path.name] for run in listed]


def _extra_columns(
    chosen: Sequence[Selected], columns: Sequence[str], arguments: argparse.Namespace
) -> dict[str, list[str]]:
    """Return the requested columns: heading to cells."""
    table = {
        name: [format_value(value_of(run.record, name, config)) for run, config in chosen]
        for name in columns
    }
    if len({run.path.parent for run, _ in chosen}) > 1:
        table["folder"] = [str(run.path.parent) for run, _ in chosen]
    if arguments.differ:
        table |= differing_columns([run for run, _ in chosen])
    return table


def differing_columns(listed: Sequence["Listed"]) -> dict[str, list[str]]:
    """Return the options in which runs differ: dotted key to cells; empty without a run."""
    from polymodal.tracking.config_diff import config_diff

    differing = config_diff(configs_of(listed)) if listed else {}
    return {key: [*map(format_value, values)] for key, values in differing.items()}


def _choose(selected: Sequence[Selected], arguments: argparse.Namespace) -> list[Selected]:
    chosen = [
        (run, config)
        for run, config in selected
        if arguments.status in (None, run.record.status)
        and (arguments.experiment or "") in run.record.experiment
    ]
    if arguments.sort and chosen:
        chosen = _best_first(chosen, arguments.sort)
    return chosen[: arguments.n]


def _best_first(selected: Sequence[Selected], score: str) -> list[Selected]:
    """Sort by a score, stably; runs without it come last."""
    names = {name for run, _ in selected for name in run.record.scores}
    if score not in names:
        raise RunError(f"no run here has the score {score!r}", hint=nearest(score, names))
    higher = score_direction(score, (run.record for run, _ in selected))
    if higher is None:
        message = f"no run records whether a higher {score} is better: the highest come first"
        print(f"note: {message}", file=sys.stderr)
    sign = 1 if higher is False else -1

    def sort_key(run: Selected) -> tuple[bool, float]:
        value = run[0].record.scores.get(score)
        return value is None, 0.0 if value is None else sign * value

    return sorted(selected, key=sort_key)
