"""Train, test and record one experiment.

Without an argument it runs experiment=sample/fusion, deep fusion on the embedded sample, and any
option changes that; experiment=, or another corpus, encoder or model, makes another experiment.
Overrides are Hydra's:

  polymodal run experiment=emodb/egemaps corpus.root=DATA/emodb
  polymodal run model=unimodal encoder=characters trainer.max_epochs=5
  polymodal run -m seed=0,1,2          one run for each value
  polymodal run resume=last            continue a stopped run as it was recorded
  polymodal run --again last           repeat a run and compare its scores
  polymodal run --from last optimizer.lr=0.01      vary a recorded run, trained from the start
  polymodal run --from last trainer.max_epochs=60 resume_state=true    train it for longer
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from polymodal.cli._bootstrap import checked_stored, composed_and_checked, prepare
from polymodal.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal run`."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options to change")
    repeat = parser.add_mutually_exclusive_group()
    repeat.add_argument("--again", metavar="RUN", help="repeat a recorded run as it was")
    repeat.add_argument("--from", metavar="RUN", dest="source", help="vary a recorded run")
    parser.add_argument("-m", "--multirun", action="store_true", help="run every combination")
    parser.add_argument("--cfg", choices=("job", "hydra", "all"), help="print the config and exit")
    parser.add_argument("--info", action="store_true", help="print the composition and exit")


def main(arguments: argparse.Namespace) -> int:
    """Run the experiment or a sweep, or print its configuration.

    Raises:
        UserError: The configuration, the data or the run to repeat are invalid.
    """
    if arguments.again or arguments.source:
        return _repeat(arguments)
    if (arguments.cfg is not None) + arguments.info + arguments.multirun > 1:
        raise ConfigError("-m, --cfg and --info exclude one another", hint="give one of them")
    from polymodal.config.resume import compose_run, with_default_experiment

    overrides = with_default_experiment(arguments.overrides)
    if arguments.cfg == "job":
        print(compose_run(overrides).text(), end="")
        return 0
    if arguments.cfg or arguments.info:
        from polymodal.cli.sweep import hydra

        flags = ["--cfg", arguments.cfg] if arguments.cfg else ["--info", "all"]
        return hydra(flags, overrides, Path.cwd())
    if arguments.multirun:
        return _sweep(overrides)
    prepare()
    from polymodal.cli._format import print_result
    from polymodal.runs.train import run_experiment

    result = run_experiment(*composed_and_checked(overrides))
    if result is not None:
        print_result(result)
    return 0


def _sweep(overrides: Sequence[str]) -> int:
    """Run every combination, and print the runs in their order with what differs between them."""
    prepare()
    from polymodal.cli._format import print_table
    from polymodal.cli.runs import differing_columns
    from polymodal.cli.sweep import hydra
    from polymodal.config.compose import runs_folder
    from polymodal.preflight.check import raise_if_errors
    from polymodal.study.check import check_sweep
    from polymodal.tracking.index import find_runs

    raise_if_errors(check_sweep(overrides, fast=True))  # of all jobs, before the first one starts
    runs = runs_folder(overrides)
    before = {run.path for run in find_runs(runs)[0]}
    code = hydra(["--multirun"], overrides, Path.cwd())
    swept = [run for run in find_runs(runs)[0][::-1] if run.path not in before]
    print_table([run.record for run in swept], differing_columns(swept))
    return code


def _repeat(arguments: argparse.Namespace) -> int:
    """Repeat or vary a recorded run."""
    if arguments.multirun or arguments.cfg or arguments.info:
        raise ConfigError("--again and --from make one run", hint="leave out -m, --cfg and --info")
    if arguments.again and arguments.overrides:
        raise ConfigError(
            f"--again repeats a run as it was, but {arguments.overrides[0]} was given",
            hint=f"vary it with --from {arguments.again}",
        )
    prepare()
    from polymodal.cli._format import print_result
    from polymodal.config.schema import PathOptions
    from polymodal.runs.reproduce import environment_changes, load_run, score_changes
    from polymodal.runs.train import run_experiment
    from polymodal.tracking.index import find_run

    path, record, composed = load_run(arguments.again or arguments.source, arguments.overrides)
    config = checked_stored(composed, path)
    for line in environment_changes(record):
        print(f"warning: {line}", file=sys.stderr)
    how = "again" if arguments.again else "from"
    notes, state = {how: record.run_id}, None
    if config["resume_state"]:
        state = path
        if arguments.again:  # from where the repeated run went on
            notes["from"] = record.notes["from"]
            state = find_run(PathOptions(**config["paths"]).runs_folder, notes["from"])
    result = run_experiment(composed, config, notes=notes, state_of=state)
    if result is not None:
        print_result(result)
        if arguments.again:
            changes = score_changes(record, result.record)
            print("\n".join(changes) or f"every score is that of {record.run_id}, to the last bit")
    return 0
