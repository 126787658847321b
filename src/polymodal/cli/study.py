"""Trains members with the same folds and seeds, votes, and compares them: one experiment.

  polymodal study study=sample/fusion_vs_voting
  polymodal study study=emodb/functionals paths.data=DATA study.seeds=[0,1,2]

The same command goes on with a study that was stopped, and runs only what has changed.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal study`."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options to change")


def main(arguments: argparse.Namespace) -> int:
    """Run the study."""
    from polymodal.cli._bootstrap import prepare

    prepare(Path.cwd())
    from polymodal.cli._bootstrap import checked
    from polymodal.cli.study_summary import print_study, read_study
    from polymodal.config.compose import compose
    from polymodal.study.run import run_study

    composed = compose(arguments.overrides, config_name="study")
    folder, _ = run_study(composed, checked(composed), checked)
    print_study(folder, read_study(folder))
    return 0
