"""Run jobs of a study in a separate process; started by `polymodal study`."""

import argparse
from pathlib import Path

from polymodal.cli._bootstrap import checked, prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal _study_worker`."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="input files of the study")


def main(arguments: argparse.Namespace) -> int:
    """Run the jobs."""
    prepare()
    from polymodal.study.jobs import run_jobs

    for message in run_jobs([Path(file) for file in arguments.files], checked):
        print(message, flush=True)
    return 0
