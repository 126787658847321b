"""Trains, tests and records one experiment.

Without an argument it runs the embedded sample. Overrides are Hydra's:

  polymodal run experiment=emodb/egemaps corpus.root=DATA/emodb
  polymodal run model=unimodal encoder=characters trainer.max_epochs=5
  polymodal run -m seed=0,1,2          each value a run of its own
  polymodal run resume=last            goes on with a run that was stopped
"""

import argparse
from pathlib import Path

SAMPLE = "experiment=sample/fusion"  # what runs where nothing is asked for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `polymodal run`.

    Args:
        parser: The command's parser.
    """
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options to change")
    parser.add_argument("-m", "--multirun", action="store_true", help="run every combination")
    parser.add_argument("--cfg", choices=("job", "hydra", "all"), help="print the config, run not")
    parser.add_argument("--info", action="store_true", help="print how the config is composed")


def main(arguments: argparse.Namespace) -> int:
    """Runs the experiment, a sweep of it, or prints its configuration.

    Args:
        arguments: As parsed.

    Returns:
        The exit code.
    """
    if arguments.cfg or arguments.info or arguments.multirun:
        from polymodal.cli.sweep import hydra

        flags = ["--cfg", arguments.cfg] if arguments.cfg else []
        flags += ["--info", "all"] if arguments.info else []
        flags += ["--multirun"] if arguments.multirun else []
        return hydra(flags, arguments.overrides, Path.cwd())
    from polymodal.cli.start import prepare

    prepare(Path.cwd())
    from polymodal.assemble.compose import compose
    from polymodal.assemble.runner import run_experiment
    from polymodal.cli.start import checked
    from polymodal.cli.summary import print_outcome

    composed = compose(arguments.overrides or [SAMPLE])
    outcome = run_experiment(composed, checked(composed))
    if outcome is not None:
        print_outcome(outcome)
    return 0
