"""Delete, archive and restore runs, after a confirmation."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from polymodal.cli._arguments import is_confirmed
from polymodal.cli._format import format_bytes, plain
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


def remove(
    chosen: Sequence[Listed], listed: Sequence[Listed], arguments: argparse.Namespace
) -> int:
    """Delete or archive runs, if that is confirmed.

    Raises:
        UserError: A run is in progress, or there is no terminal to prompt on.
    """
    if not chosen:
        print("no matching run")
        return 0
    require_not_running(chosen)
    sizes = {run.path: size_bytes(run.path) for run in chosen}
    for path, size in sizes.items():
        print(f"{plain(path)}  {format_bytes(size)}")
    for name, dependents in dependents_of({path.name for path in sizes}, listed).items():
        more = f" and {len(dependents) - MAX_NAMED} more" if len(dependents) > MAX_NAMED else ""
        print(plain(f"warning: {name} is needed by {', '.join(dependents[:MAX_NAMED])}{more}"))
    verb, apply = ("archive", archive) if arguments.archive else ("delete", delete)
    total = format_bytes(sum(sizes.values()))
    if not is_confirmed(f"{verb} {len(sizes)} of these, {total}?", arguments):
        return 0
    for run in chosen:
        require_not_running([run])  # may have been resumed during the prompt
        try:
            apply(run.path)
        except OSError as error:
            raise RunError(f"{run.path} cannot be {verb}d: {error}") from None
    print(f"{verb}d {len(sizes)}, {total}")
    return 0


def require_none_running(arguments: argparse.Namespace) -> None:
    """Reject a removal without a selection.

    Raises:
        ConfigError: No run is selected, or both --delete and --archive are given.
    """
    if arguments.delete and arguments.archive:
        raise ConfigError("--delete and --archive", expected="one of them")
    selection = (arguments.filters, arguments.status, arguments.experiment, arguments.n)
    if not any(selection):
        raise ConfigError(
            "no runs are selected",
            expected="prefixes of ids, filters such as status=failed or until=30d, or both",
            hint="polymodal runs status=failed --delete",
        )


def list_archived(arguments: argparse.Namespace) -> int:
    """Print the archived runs."""
    packed = [path for root in roots(Path(arguments.runs)) for path in archived(root)]
    if arguments.json:
        rows = [{"run_id": _run_id(run), "path": str(run)} for run in packed]
        print(json.dumps(rows, indent=1))
        return 0
    for path in packed:
        size = format_bytes(path.stat().st_size)
        print(f"{plain(_run_id(path))}  {size}  {plain(path)}")
    if not packed:
        print("nothing is archived here; `polymodal runs FILTER --archive` archives runs")
    return 0


def restore_archived(arguments: argparse.Namespace) -> int:
    """Restore archived runs.

    Raises:
        RunError: There is no such archived run, or it is damaged.
    """
    packed = [path for root in roots(Path(arguments.runs)) for path in archived(root)]
    for name in arguments.restore:
        listed = [path for path in packed if name and _run_id(path).startswith(name)]
        if len(listed) != 1:
            ids = [_run_id(path) for path in packed]
            problem = f"{len(listed)} archived runs begin" if listed else "no archived run begins"
            raise RunError(f"{problem} with {name!r}", hint=nearest(name, ids))
        print(f"restored {restore(listed[0])}")
    return 0


def _run_id(packed: Path) -> str:
    return packed.name.removesuffix(PACKED)
