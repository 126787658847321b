"""Vote over the predictions of finished runs (late fusion), joined by utterance.

polymodal vote RUN RUN ... [ensemble.on=logits] [ensemble.weights=[2,1]] [--split val]

The scores are those of the first member by default; choose others with `scores=...`.
"""

import argparse
from pathlib import Path

from polymodal.cli._bootstrap import checked
from polymodal.cli.test import add_split, split_override


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal vote`."""
    parser.add_argument(
        "overrides", nargs="+", metavar="RUN|KEY=VALUE", help="runs and options to change"
    )
    add_split(parser, "join the predictions of this split (default: test)")


def main(arguments: argparse.Namespace) -> int:
    """Vote."""
    from polymodal.cli._format import print_result
    from polymodal.config.compose import compose
    from polymodal.runs.vote import vote, with_scores_of

    runs = [word for word in arguments.overrides if "=" not in word]
    overrides = [word for word in arguments.overrides if "=" in word]
    overrides += split_override(arguments.split)
    composed = compose(overrides, config_name="vote", project=Path.cwd())
    if not any(word.lstrip("+~").startswith("scores") for word in overrides):
        composed = with_scores_of(runs, composed)
    result = vote(runs, composed, checked(composed))
    for message in result.record.notes["ensemble"]:
        print(message)
    print_result(result)
    return 0
