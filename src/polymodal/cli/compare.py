"""Compare runs that predicted the same utterances: difference, interval, p and verdict.

polymodal compare RUN RUN [RUN ...] [--score uar] [--split test] [--json]
polymodal compare STUDY
"""

import argparse
import json
from pathlib import Path
from typing import Any

from polymodal.cli._arguments import add_folder
from polymodal.cli._bootstrap import prepare
from polymodal.cli._format import console, plain, print_differences, read_study
from polymodal.errors import RunError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal compare`."""
    parser.add_argument(
        "names", nargs="+", metavar="RUN|STUDY", help="two or more runs, or a study"
    )
    parser.add_argument("--score", help="the score (default: the monitor of the first run)")
    parser.add_argument("--split", default="test", help="split of the predictions (default: test)")
    parser.add_argument("--alpha", type=float, default=0.05, help="family-wise error rate")
    add_folder(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print all pairwise comparisons.

    Raises:
        UserError: A run or its predictions are missing, or they do not match.
    """
    from polymodal.tracking.index import find_run, read_record

    runs = Path(arguments.runs)
    folders = [find_run(runs, name) for name in arguments.names]
    if len(folders) > 1:
        result = _of_runs(folders, arguments)
    elif read_record(folders[0]).kind == "study":
        result = list(read_study(folders[0])["comparisons"])
    else:
        message = f"{folders[0].name} is one run"
        raise RunError(message, hint="name a second one to compare it with")
    if arguments.json:
        print(json.dumps(result, indent=1))
        return 0
    page = console()
    for comparison in result:
        page.print(plain(comparison["verdict"]), markup=False, soft_wrap=True)
    if len(folders) > 1:
        print_differences(folders)
    return 0


def _of_runs(folders: list[Path], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    prepare()
    from polymodal.evaluation.breakdown import select_score
    from polymodal.evaluation.stats.multiple import compare
    from polymodal.runs.load_predictions import stored_scores, stored_table

    if duplicates := [folder.name for folder in folders if folders.count(folder) > 1]:
        raise RunError(f"{duplicates[0]} is named twice", hint="name different runs")
    tables = {folder.name: stored_table(folder, arguments.split) for folder in folders}
    scores, monitor = stored_scores(folders[0], tables[folders[0].name])
    name = arguments.score or monitor
    scored = {key: select_score(table, scores, name) for key, table in tables.items()}
    score = next(iter(scored.values()))[1]
    compared = compare(
        {key: table for key, (table, _) in scored.items()}, name, score, alpha=arguments.alpha
    )
    return [comparison.to_dict() for comparison in compared]
