"""Write the prediction table of a finished run for any manifest, labelled or not.

polymodal predict last --out predictions.csv
polymodal predict last corpus=table corpus.root=DATA corpus.file=new.csv
"""

import argparse

from polymodal.cli.test import evaluate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal predict`."""
    parser.add_argument("run", metavar="RUN", help="run id or prefix of one, a path, or `last`")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options to change")
    parser.add_argument("--out", metavar="FILE", help="write a copy of the table (.parquet, .csv)")


def main(arguments: argparse.Namespace) -> int:
    """Predict."""
    if not any(word.startswith("part=") for word in arguments.overrides):
        arguments.overrides = [*arguments.overrides, "part=all"]
    return evaluate(arguments, "predict", arguments.out)
