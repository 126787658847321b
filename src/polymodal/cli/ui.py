"""Shows all runs as one page in the browser: table, curves, options and scores, differences.

polymodal ui
polymodal ui --runs runs --runs /data/runs --no-open

The page is on this machine only and stays up to date while runs go on; ctrl-C ends it. Runs of
another machine: start it there with `--no-open --port 8642`, let `ssh -L 8642:127.0.0.1:8642 HOST`
bring that port here, and open the address that it printed.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from polymodal.cli.runs import add_runs, plain
from polymodal.errors import RunError, RunInterruptedError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal ui`."""
    add_runs(parser)
    parser.add_argument("--port", type=_port, metavar="N", help="0 for any; else the next free one")
    parser.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show it in the browser (default: yes)",
    )


def main(arguments: argparse.Namespace) -> int:
    """Serve the page until it is interrupted.

    Raises:
        RunError: A folder cannot be read, or the port is taken.
        StoppedError: Something else than ctrl-C ended it.
    """
    roots = _roots(Path(arguments.runs))
    from polymodal.ui.server import Server

    server = Server(roots, arguments.port)
    try:
        print(server.address, flush=True)
        for root in roots:
            print(f"  runs of {plain(root)}", flush=True)
        print("  ctrl-C ends it", flush=True)
        if arguments.open:
            _open(server.address)
        server.serve_forever(poll_interval=0.2)
    except RunInterruptedError as stopped:
        if stopped.exit_code != 128 + signal.SIGINT:
            raise
        print("ended", file=sys.stderr)
    finally:
        server.server_close()
    return 0


def _roots(runs: Path) -> list[Path]:
    from polymodal.tracking.index import roots

    found: dict[Path, Path] = {}
    for path in (root.expanduser() for root in roots(runs)):
        found.setdefault(path.resolve(), path)
    for path in found.values():
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is no folder", hint="name the folder that holds the runs")
    if not any(path.is_dir() for path in found.values()):
        raise RunError(
            f"there is no folder {', '.join(map(str, found.values()))}",
            hint="`polymodal run` makes one; --runs or POLYMODAL_RUNS names another folder",
        )
    return [*found.values()]


def _port(word: str) -> int:
    if not word.isdecimal() or int(word) > 65535:
        raise argparse.ArgumentTypeError(f"{word!r} is no port from 0 to 65535")
    return int(word)


def _open(address: str) -> None:
    """Show it in a browser with windows; one of the terminal would take the terminal."""
    import webbrowser

    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in screens):
        print("  there is no screen here: open the address by hand", flush=True)
        return
    webbrowser.open(address)
