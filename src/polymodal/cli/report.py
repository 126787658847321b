"""Write the page of a run or a study: one HTML file, and its tables as CSV, Markdown and LaTeX.

polymodal report last --open
polymodal report 20261123 --audio       embed the audio of the worst errors
"""

import argparse
import sys
from pathlib import Path

from polymodal.cli._arguments import add_runs
from polymodal.cli._bootstrap import prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal report`."""
    parser.add_argument("run", metavar="RUN", help="run or study: id or prefix, path, `last`")
    add_runs(parser)
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser.add_argument("--audio", action="store_true", help="embed the audio of errors")


def main(arguments: argparse.Namespace) -> int:
    """Write the page.

    Raises:
        RunError: There is no such run.
    """
    from polymodal.tracking.index import find_run

    folder = find_run(Path(arguments.runs), arguments.run)
    is_study = (folder / "study.json").is_file()
    page = _study_page(folder, arguments) if is_study else _run_page(folder, arguments)
    print(f"{page}\n{folder / 'tables'}: the tables as CSV, Markdown and LaTeX")
    print(f"{folder / 'figures'}: the pictures as SVG and PDF")
    if arguments.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return 0


def _study_page(folder: Path, arguments: argparse.Namespace) -> Path:
    from polymodal.cli._format import read_study
    from polymodal.tracking.index import roots

    prepare()
    from polymodal.report.load import study_examples
    from polymodal.report.study_page import write_report

    study = read_study(folder)
    folders = [folder.parent, *roots(Path(arguments.runs))]  # where its runs may be
    runs = [root / name for root in folders for name in study.get("runs") or []]
    examples = study_examples(runs, audio=arguments.audio, warn=_warn)
    return write_report(study, folder, heard=examples, figures=folder / "figures")


def _run_page(folder: Path, arguments: argparse.Namespace) -> Path:
    prepare()
    from polymodal.report.load import run_page
    from polymodal.report.run_page import write_page

    return write_page(run_page(folder, audio=arguments.audio, warn=_warn), folder)


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
