"""Trains, tests and records one experiment.

Without an argument it runs the embedded sample. Overrides are Hydra's:

  polymodal run experiment=emodb/egemaps corpus.root=DATA/emodb
  polymodal run model=unimodal encoder=characters trainer.max_epochs=5
  polymodal run -m seed=0,1,2          each value a run of its own
  polymodal run resume=last            goes on with a run that was stopped
  polymodal run --again last           the same once more, and whether it scores the same
  polymodal run --from last optimizer.lr=0.01      a variation of a recorded run
"""

import argparse
import sys
from pathlib import Path

from polymodal.errors import ConfigError

SAMPLE = "experiment=sample/fusion"  # what runs where nothing is asked for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal run`."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options to change")
    repeat = parser.add_mutually_exclusive_group()
    repeat.add_argument("--again", metavar="RUN", help="repeat a recorded run as it was")
    repeat.add_argument("--from", metavar="RUN", dest="source", help="vary a recorded run")
    parser.add_argument("-m", "--multirun", action="store_true", help="run every combination")
    parser.add_argument("--cfg", choices=("job", "hydra", "all"), help="print the config, run not")
    parser.add_argument("--info", action="store_true", help="print how the config is composed")


def main(arguments: argparse.Namespace) -> int:
    """Run the experiment, a sweep of it, or prints its configuration.

    Raises:
        UserError: Something is wrong with the config, the data or the run to be repeated.
    """
    if arguments.again or arguments.source:
        return _repeat(arguments)
    if arguments.cfg or arguments.info or arguments.multirun:
        from polymodal.cli.sweep import hydra

        if arguments.multirun:  # a fault of the last job is said before the first one starts
            from polymodal.cli._bootstrap import prepare

            prepare(Path.cwd())
            from polymodal.preflight.check import raise_if_errors
            from polymodal.study.check import check_sweep

            raise_if_errors(check_sweep(arguments.overrides, fast=True))
        flags = ["--cfg", arguments.cfg] if arguments.cfg else []
        flags += ["--info", "all"] if arguments.info else []
        flags += ["--multirun"] if arguments.multirun else []
        return hydra(flags, arguments.overrides, Path.cwd())
    from polymodal.cli._bootstrap import prepare

    prepare(Path.cwd())
    from polymodal.cli._bootstrap import composed_and_checked
    from polymodal.cli.summary import print_outcome
    from polymodal.runs.train import run_experiment

    outcome = run_experiment(*composed_and_checked(arguments.overrides or [SAMPLE]))
    if outcome is not None:
        print_outcome(outcome)
    return 0


def _repeat(arguments: argparse.Namespace) -> int:
    """Run what a recorded run ran, varied or not."""
    if arguments.multirun or arguments.cfg or arguments.info:
        raise ConfigError("--again and --from make one run", hint="leave out -m, --cfg and --info")
    if arguments.again and arguments.overrides:
        raise ConfigError(
            f"--again repeats a run as it was, and there is {arguments.overrides[0]}",
            hint=f"vary it with --from {arguments.again}",
        )
    from polymodal.cli._bootstrap import prepare

    prepare(Path.cwd())
    from polymodal.cli._bootstrap import checked_stored
    from polymodal.cli.summary import print_outcome
    from polymodal.runs.reproduce import environment_changes, load_run, score_changes
    from polymodal.runs.train import run_experiment

    path, record, composed = load_run(arguments.again or arguments.source, arguments.overrides)
    config = checked_stored(composed, path)
    for line in environment_changes(record):
        print(f"warning: {line}", file=sys.stderr)
    how = "again" if arguments.again else "from"
    outcome = run_experiment(composed, config, notes={how: record.run_id})
    if outcome is not None:
        print_outcome(outcome)
        if arguments.again:
            other = score_changes(record, outcome[1])
            print("\n".join(other) or f"every score is that of {record.run_id}, to the last bit")
    return 0
