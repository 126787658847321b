"""Score a finished run on a split of its data or on other data.

polymodal test last                          the run's own test split
polymodal test last part=val
polymodal test last corpus.root=OTHER part=all
"""

import argparse

from polymodal.cli._bootstrap import checked_stored, prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal test`."""
    parser.add_argument("run", metavar="RUN", help="run id or prefix of one, a path, or `last`")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options to change")


def main(arguments: argparse.Namespace) -> int:
    """Test the run."""
    return evaluate(arguments, "test", None)


def evaluate(arguments: argparse.Namespace, kind: str, out: str | None) -> int:
    """Apply a stored run to data, for `test` and `predict`; `out` is a copy of the predictions."""
    prepare()
    from polymodal.cli._format import print_result
    from polymodal.runs.evaluate import apply_run, load_stored_run

    source, composed = load_stored_run(arguments.run, arguments.overrides)
    config = checked_stored(composed, source)
    result = apply_run(source, composed, config, kind=kind, out=out)
    if result is not None:
        print_result(result)
    return 0
