"""Shallow fusion: joins the prediction tables of finished runs by utterance and votes.

polymodal vote RUN RUN ... [voting.on=logits] [voting.weights=[2,1]] [part=val]

It is scored as its first member was, unless `scores=...` says otherwise.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal vote`."""
    parser.add_argument(
        "overrides", nargs="+", metavar="RUN|KEY=VALUE", help="runs to join, and options to change"
    )


def main(arguments: argparse.Namespace) -> int:
    """Vote."""
    from polymodal.cli._bootstrap import checked
    from polymodal.cli.summary import print_outcome
    from polymodal.config.compose import compose
    from polymodal.runs.vote import vote, with_scores_of

    runs = [word for word in arguments.overrides if "=" not in word]
    overrides = [word for word in arguments.overrides if "=" in word]
    composed = compose(overrides, config_name="vote", project=Path.cwd())
    if not any(word.lstrip("+~").startswith("scores") for word in overrides):
        composed = with_scores_of(runs, composed)
    outcome = vote(runs, composed, checked(composed))
    for words in outcome[1].notes["voting"]:
        print(words)
    print_outcome(outcome)
    return 0
