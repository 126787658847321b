"""Runs cells of a study in a process of their own; `polymodal study` calls it.

polymodal cell FILE ...
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal cell`."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="what the study has written")


def main(arguments: argparse.Namespace) -> int:
    """Run the cells."""
    from polymodal.study.launcher import end_with_parent

    end_with_parent()
    from polymodal.cli._bootstrap import prepare

    prepare(Path.cwd())
    from polymodal.cli._bootstrap import checked
    from polymodal.study.jobs import run_jobs

    for words in run_jobs([Path(file) for file in arguments.files], checked):
        print(words, flush=True)
    return 0
