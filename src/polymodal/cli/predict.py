"""Write the prediction table of a finished run for any manifest, labelled or not.

polymodal predict last --out predictions.csv
polymodal predict last corpus=table corpus.root=DATA corpus.file=new.csv
"""

import argparse

from polymodal.cli.test import add_split, add_stored_run, evaluate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal predict`."""
    add_stored_run(parser)
    add_split(parser, "predict this split only (default: all rows)")
    parser.add_argument("--out", metavar="FILE", help="write a copy of the table (.parquet, .csv)")


def main(arguments: argparse.Namespace) -> int:
    """Predict."""
    if not any(override.startswith("evaluate_on=") for override in arguments.overrides):
        arguments.split = arguments.split or "all"
    return evaluate(arguments, "predict", arguments.out)
