"""Upload missing steps to the trackers of runs, after a server was down, slow or not yet set up.

polymodal sync last                            to the trackers that the run names
polymodal sync --all --to mlflow tracker.mlflow.uri=http://host:5000
polymodal sync last --to wandb tracker.wandb.mode=online      also uploads offline runs of W&B

The run folder has everything, so it can be uploaded at any time; no step is uploaded twice. The
default is the last run.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from polymodal.cli._arguments import add_folder
from polymodal.cli._format import plain
from polymodal.errors import ConfigError, RunFailedError, UserError
from polymodal.schemas.run_record import RunRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal sync`."""
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="RUN",
        help="run ids, and options KEY=VALUE of trackers",
    )
    add_folder(parser)
    parser.add_argument("--all", action="store_true", help="every run here")
    parser.add_argument("--to", metavar="TRACKER,...", help="instead of the trackers of the runs")


def main(arguments: argparse.Namespace) -> int:
    """Upload missing steps, and return 1 if some could not be uploaded.

    Raises:
        UserError: There is no such run or tracker, or an option is invalid.
    """
    values = arguments.overrides
    options = [word for word in values if "=" in word]
    for word in options:
        if word.partition(".")[0] != "tracker":
            raise ConfigError(
                f"sync takes no option {word!r}",
                expected="options of trackers, such as tracker.mlflow.uri=http://host:5000",
            )
    folders = _folders(Path(arguments.runs), [w for w in values if "=" not in w], arguments.all)
    options = [f"tracker=[{arguments.to}]", *options] if arguments.to else options
    sys.path.insert(0, str(Path.cwd()))  # a project's own trackers
    entries: list[dict[str, Any]] = []
    for folder in folders:
        try:
            entries += _sync(folder, options, quiet=arguments.json)
        except UserError as error:
            if not arguments.all:
                raise
            entries.append({"run": folder.name, "error": str(error)})
            print(plain(f"{folder.name} · {error}"), file=sys.stderr)
    if arguments.json:
        print(json.dumps(entries, indent=1))
    elif not entries:
        print("these runs have no tracker; choose one with --to")
    return int(any("error" in entry for entry in entries))


def _folders(runs: Path, names: Sequence[str], all_runs: bool) -> list[Path]:
    from polymodal.tracking.index import find_run, find_runs

    if all_runs and names:
        raise ConfigError("--all selects every run", hint=f"leave out --all or {names[0]}")
    if all_runs:
        return [run.path for run in reversed(find_runs(runs)[0])]
    return [find_run(runs, name) for name in names or ["last"]]


def _sync(folder: Path, options: Sequence[str], *, quiet: bool) -> list[dict[str, Any]]:
    """Upload one run, and return an entry for each tracker."""
    from polymodal.config.compose import apply_overrides, load_config, project_packages
    from polymodal.preflight.rules.signatures import check_signatures
    from polymodal.runs.trackers import build_trackers, loggable_config, tracker_section
    from polymodal.tracking.index import read_record, with_live_status

    record = with_live_status(read_record(folder))
    composed = apply_overrides(load_config(folder / "config.yaml", record.experiment), options)
    section = tracker_section(composed)  # possibly of a folder from an untrusted source
    check_signatures({"tracker": section}, project_packages(Path.cwd()))
    entries = []
    for name, tracker in build_trackers(section).items():
        entry: dict[str, Any] = {"run": record.run_id, "tracker": name}
        if record.status == "running":
            entry["error"] = "the run is in progress and logs to its trackers itself"
        else:
            entry |= _deliver(tracker, name, record, loggable_config(composed), folder, quiet=quiet)
        entries.append(entry)
        if not quiet:
            message = entry.get("error") or f"has all {entry['lines']} lines"
            if entry.get("delivered"):
                message = f"got {entry['delivered']} lines, has {entry['lines']} now"
            stream = sys.stderr if "error" in entry else sys.stdout
            print(plain(f"{record.run_id} · {name} · {message}"), file=stream)
    return entries


def _deliver(
    tracker: Any, name: str, record: RunRecord, config: Any, folder: Path, *, quiet: bool
) -> dict[str, Any]:
    from polymodal.tracking.trackers.sync import upload_missing

    try:
        with _shown(f"{record.run_id} · {name}", quiet=quiet) as progress:
            done = upload_missing(tracker, name, record, config, folder, progress)
    except RunFailedError as error:
        return {"error": str(error)}
    return {"delivered": done.lines, "lines": done.held}


@contextlib.contextmanager
def _shown(title: str, *, quiet: bool) -> Generator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    page = Console(stderr=True)
    if quiet or not page.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=page, transient=True) as bar:
        task = bar.add_task(plain(title), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
