"""Score a finished run on a split of its data or on other data.

polymodal test last                          the run's own test split
polymodal test last --split val
polymodal test last corpus.root=OTHER --split all
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.cli._bootstrap import checked_stored, prepare

if TYPE_CHECKING:
    from polymodal.config.compose import ComposedConfig

SPLITS = ("train", "val", "test", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal test`."""
    add_stored_run(parser)
    add_split(
        parser, "score this split (default: test); all: every row, by the models of all folds"
    )


def add_stored_run(parser: argparse.ArgumentParser) -> None:
    """Declare a stored run and the options to change."""
    parser.add_argument("run", metavar="RUN", help="run id or prefix of one, a path, or `last`")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options to change")


def add_split(parser: argparse.ArgumentParser, description: str) -> None:
    """Declare `--split`."""
    parser.add_argument("--split", choices=SPLITS, help=description)


def main(arguments: argparse.Namespace) -> int:
    """Test the run."""
    return evaluate(arguments, "test", None)


def split_override(split: str | None) -> list[str]:
    """Return the override that a given `--split` stands for."""
    return [] if split is None else [f"evaluate_on={split}"]


def evaluate(arguments: argparse.Namespace, kind: str, out: str | None) -> int:
    """Apply a stored run to data, for `test` and `predict`; `out` is a copy of the predictions."""
    prepare()
    from polymodal.cli._format import print_result
    from polymodal.runs.evaluate import apply_run, load_trained_run

    overrides = [*arguments.overrides, *split_override(arguments.split)]
    source, composed = load_trained_run(arguments.run, overrides)
    if kind == "predict":
        _allow_unknown_speakers(composed)
    config = checked_stored(composed, source)
    warn_of_own_code(source)
    result = apply_run(source, composed, config, kind=kind, out=out)
    if result is not None:
        print_result(result)
    return 0


def warn_of_own_code(source: Path) -> None:
    """Warn if the code of this project is not that which a run, given by its folder, ran with."""
    from polymodal.config.compose import project_packages
    from polymodal.runs.reproduce import code_changes
    from polymodal.tracking.index import read_record

    for line in code_changes(read_record(source)) if project_packages(Path.cwd()) else ():
        print(f"warning: {line}", file=sys.stderr)


def _allow_unknown_speakers(composed: "ComposedConfig") -> None:
    """Let a table have no speakers: predictions need none, only splits do."""
    section = composed.config.corpus
    if "unknown_speaker" in section and section.unknown_speaker is None:
        section.unknown_speaker = "unknown"
