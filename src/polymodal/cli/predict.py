"""Write the prediction table of a finished run for any manifest, labelled or not.

polymodal predict last --out predictions.csv
polymodal predict last corpus=table corpus.root=DATA corpus.file=new.csv
"""

import argparse
from pathlib import Path

from polymodal.cli.test import add_split, add_stored_run, evaluate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal predict`."""
    add_stored_run(parser)
    add_split(parser, "predict this split only (default: all rows)")
    parser.add_argument("--out", metavar="FILE", help="write a copy: .parquet, .csv, .tsv, .jsonl")


def main(arguments: argparse.Namespace) -> int:
    """Predict.

    Raises:
        PredictionError: `--out` names no known format.
    """
    from polymodal.errors import PredictionError
    from polymodal.schemas.predictions import ENDINGS

    if arguments.out and Path(arguments.out).suffix not in ENDINGS:
        raise PredictionError(
            f"--out {arguments.out} names no known format",
            expected=f"a file name that ends with {', '.join(ENDINGS)}",
            hint=f"for example --out {Path(arguments.out).stem or 'predictions'}.csv",
        )
    if not any(override.startswith("evaluate_on=") for override in arguments.overrides):
        arguments.split = arguments.split or "all"
    return evaluate(arguments, "predict", arguments.out)
