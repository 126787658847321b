"""Train, test and record one experiment.

Without an argument it runs the embedded sample. Overrides are Hydra's:

  polymodal run experiment=emodb/egemaps corpus.root=DATA/emodb
  polymodal run model=unimodal encoder=characters trainer.max_epochs=5
  polymodal run -m seed=0,1,2          one run for each value
  polymodal run resume=last            continue a stopped run
  polymodal run --again last           repeat a run and compare its scores
  polymodal run --from last optimizer.lr=0.01      vary a recorded run
"""

import argparse
import sys
from pathlib import Path

from polymodal.cli._bootstrap import checked_stored, composed_and_checked, prepare
from polymodal.errors import ConfigError

SAMPLE = "experiment=sample/fusion"  # the default


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal run`."""
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="KEY=VALUE", help="options to change"
    )
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
    if arguments.cfg or arguments.info or arguments.multirun:
        from polymodal.cli.sweep import hydra

        if arguments.multirun:  # report errors of all jobs before the first one starts
            prepare()
            from polymodal.preflight.check import raise_if_errors
            from polymodal.study.check import check_sweep

            raise_if_errors(check_sweep(arguments.overrides, fast=True))
        flags = ["--cfg", arguments.cfg] if arguments.cfg else []
        flags += ["--info", "all"] if arguments.info else []
        flags += ["--multirun"] if arguments.multirun else []
        return hydra(flags, arguments.overrides, Path.cwd())
    prepare()
    from polymodal.cli._format import print_result
    from polymodal.runs.train import run_experiment

    result = run_experiment(*composed_and_checked(arguments.overrides or [SAMPLE]))
    if result is not None:
        print_result(result)
    return 0


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
    from polymodal.runs.reproduce import environment_changes, load_run, score_changes
    from polymodal.runs.train import run_experiment

    path, record, composed = load_run(arguments.again or arguments.source, arguments.overrides)
    config = checked_stored(composed, path)
    for line in environment_changes(record):
        print(f"warning: {line}", file=sys.stderr)
    how = "again" if arguments.again else "from"
    result = run_experiment(composed, config, notes={how: record.run_id})
    if result is not None:
        print_result(result)
        if arguments.again:
            changes = score_changes(record, result.record)
            print("\n".join(changes) or f"every score is that of {record.run_id}, to the last bit")
    return 0
