"""Shows what the program is for, on the embedded sample.

Each modality alone, deep fusion of all, and soft voting over the modalities alone: recorded runs.

  polymodal demo
  polymodal demo trainer.max_epochs=5
"""

import argparse
from pathlib import Path

ALONE = ("speech", "text", "physiology")
MEMBERS = (*ALONE, "fusion")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `polymodal demo`.

    Args:
        parser: The command's parser.
    """
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options for every run")


def main(arguments: argparse.Namespace) -> int:
    """Runs the members, votes, and prints one table.

    Args:
        arguments: As parsed.

    Returns:
        The exit code.
    """
    from polymodal.cli.start import prepare

    prepare(Path.cwd())
    from polymodal.assemble.ballot import vote
    from polymodal.assemble.compose import compose
    from polymodal.assemble.runner import run_experiment
    from polymodal.cli.start import checked
    from polymodal.cli.summary import of_part, print_scores

    outcomes = {}
    for member in MEMBERS:
        print(f"── polymodal run experiment=sample/{member}", flush=True)
        composed = compose([f"experiment=sample/{member}", *arguments.overrides])
        outcome = run_experiment(composed, checked(composed))
        if outcome is not None:
            outcomes[member] = outcome
    if len(outcomes) < len(MEMBERS):  # another rank than zero
        return 0
    runs = [str(outcomes[member][0]) for member in ALONE]
    shared = [one for one in arguments.overrides if one.startswith(("tracker", "paths"))]
    composed = compose(shared, config_name="vote")
    config = checked(composed)
    outcomes["soft voting"] = vote(runs, composed, config)
    rows = [(name, of_part(record, "test")) for name, (_, record) in outcomes.items()]
    names = {"fusion": "deep fusion"}
    print_scores(
        [(names.get(name, f"{name} alone" if name in ALONE else name), row) for name, row in rows],
        title="the generated sample, speakers not heard in training (no evidence about emotion)",
        first="",
    )
    for name, (folder, _) in outcomes.items():
        print(f"{name:<12} {folder}")
    return 0
