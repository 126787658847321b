"""Writes the page of a run or a study: one HTML file, and its tables as CSV, Markdown and LaTeX.

polymodal report last --open
polymodal report 20261123 --audio       with players for the worst errors, the sound in the page
"""

import argparse
import sys
from pathlib import Path

from polymodal.cli.runs import add_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `polymodal report`.

    Args:
        parser: The command's parser.
    """
    parser.add_argument("run", metavar="RUN", help="run or study: id, its beginning, path, `last`")
    add_runs(parser)
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    parser.add_argument("--audio", action="store_true", help="put the sound of errors into it")


def main(arguments: argparse.Namespace) -> int:
    """Writes the page.

    Args:
        arguments: As parsed.

    Returns:
        The exit code.

    Raises:
        RunError: There is no such run.
    """
    from polymodal.record.index import find_run

    folder = find_run(Path(arguments.runs), arguments.run)
    page = (
        _study_page(folder) if (folder / "study.json").is_file() else _run_page(folder, arguments)
    )
    print(f"{page}\n{folder / 'tables'}: the tables as CSV, Markdown and LaTeX")
    if arguments.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return 0


def _study_page(folder: Path) -> Path:
    from polymodal.cli.study_summary import read_study
    from polymodal.study.report import write_report

    return write_report(read_study(folder), folder)


def _run_page(folder: Path, arguments: argparse.Namespace) -> Path:
    from polymodal.cli.start import prepare

    prepare(Path.cwd())
    from polymodal.assemble.report import run_page
    from polymodal.pages.run import write_page

    def warn(words: str) -> None:
        print(f"warning: {words}", file=sys.stderr)

    return write_page(run_page(folder, audio=arguments.audio, warn=warn), folder)
