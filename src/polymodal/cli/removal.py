"""Asks, then deletes or packs away the runs that are listed, and brings packed ones back."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from polymodal.cli.runs import number_of_bytes, plain
from polymodal.errors import ConfigError, RunError, nearest
from polymodal.tracking.archive import (
    PACKED,
    archive,
    archived,
    delete,
    dependents_of,
    require_not_running,
    restore,
    size_bytes,
)
from polymodal.tracking.index import Listed, roots

MAX_NAMED = 5


def remove(chosen: Sequence[Listed], found: Sequence[Listed], arguments: argparse.Namespace) -> int:
    """Delete or packs away runs, if that is confirmed.

    Raises:
        UserError: One of them goes on, or nobody can be asked.
    """
    if not chosen:
        print("no run like that")
        return 0
    require_not_running(chosen)
    sizes = {one.path: size_bytes(one.path) for one in chosen}
    for path, size in sizes.items():
        print(f"{plain(path)}  {number_of_bytes(size)}")
    for name, those in dependents_of({path.name for path in sizes}, found).items():
        more = f" and {len(those) - MAX_NAMED} more" if len(those) > MAX_NAMED else ""
        print(plain(f"warning: {name} is needed by {', '.join(those[:MAX_NAMED])}{more}"))
    verb, act = ("archive", archive) if arguments.archive else ("delete", delete)
    total = number_of_bytes(sum(sizes.values()))
    if not _is_confirmed(f"{verb} {len(sizes)} of these, {total}?", arguments):
        return 0
    for one in chosen:
        require_not_running([one])  # it may have been resumed while the question was read
        try:
            act(one.path)
        except OSError as error:
            raise RunError(f"{one.path} cannot be {verb}d: {error}") from None
    print(f"{verb}d {len(sizes)}, {total}")
    return 0


def require_none_running(arguments: argparse.Namespace) -> None:
    """Reject to remove without a word about what.

    Raises:
        ConfigError: Nothing is said, or not one of the two.
    """
    if arguments.delete and arguments.archive:
        raise ConfigError("--delete and --archive", expected="one of them")
    said = (arguments.filters, arguments.status, arguments.experiment, arguments.n)
    if not any(said):
        raise ConfigError(
            "nothing says which runs are to go",
            expected="beginnings of ids, filters such as status=failed or until=30d, or both",
            hint="polymodal runs status=failed --delete",
        )


def list_archived(arguments: argparse.Namespace) -> int:
    """Print the runs that were packed away."""
    packed = [path for root in roots(Path(arguments.runs)) for path in archived(root)]
    if arguments.json:
        rows = [{"run_id": _run_id(one), "path": str(one)} for one in packed]
        print(json.dumps(rows, indent=1))
        return 0
    for path in packed:
        size = number_of_bytes(path.stat().st_size)
        print(f"{plain(_run_id(path))}  {size}  {plain(path)}")
    if not packed:
        print("nothing is archived here; `polymodal runs FILTER --archive` packs runs away")
    return 0


def restore_archived(arguments: argparse.Namespace) -> int:
    """Bring packed runs back.

    Raises:
        RunError: There is no such packed run, or it is damaged.
    """
    packed = [path for root in roots(Path(arguments.runs)) for path in archived(root)]
    for name in arguments.restore:
        found = [path for path in packed if name and _run_id(path).startswith(name)]
        if len(found) != 1:
            known = [_run_id(path) for path in packed]
            told = f"{len(found)} archived runs begin" if found else "no archived run begins"
            raise RunError(f"{told} with {name!r}", hint=nearest(name, known))
        print(f"restored {restore(found[0])}")
    return 0


def _run_id(packed: Path) -> str:
    return packed.name.removesuffix(PACKED)


def _is_confirmed(question: str, arguments: argparse.Namespace) -> bool:
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("nobody can be asked whether to do so", hint="add --yes, if you are sure")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
