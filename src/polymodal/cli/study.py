"""Train members on the same folds and seeds, vote over them, and compare them.

  polymodal study study=sample/fusion_vs_voting
  polymodal study study=emodb/functionals paths.data=DATA study.seeds=[0,1,2]

Repeat the command to continue a stopped study; only missing or changed jobs run.
"""

import argparse

from polymodal.cli._bootstrap import checked, prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal study`."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options to change")


def main(arguments: argparse.Namespace) -> int:
    """Run the study."""
    prepare()
    from polymodal.cli._format import print_study, read_study
    from polymodal.config.compose import compose
    from polymodal.study.run import run_study

    composed = compose(arguments.overrides, config_name="study")
    folder, _ = run_study(composed, checked(composed), checked)
    print_study(folder, read_study(folder))
    for what, how in (
        ("next:", f"polymodal report {folder} --open"),
        ("", "polymodal runs          the runs of its members"),
        ("", "polymodal ui            all runs and studies on one page"),
    ):
        print(f"{what:<7} {how}")
    return 0
