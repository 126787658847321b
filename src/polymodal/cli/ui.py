"""Browse all runs in a live page: table, curves, options and scores, differences.

polymodal ui
polymodal ui --runs runs --runs /data/runs --no-open

The page is served to this machine only and updates while runs are in progress; ctrl-C stops it. For
runs of another machine, start it there with `--no-open --port 8642`, forward the port with
`ssh -L 8642:127.0.0.1:8642 HOST`, and open the printed address.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from polymodal.cli._arguments import add_runs
from polymodal.cli._format import plain
from polymodal.errors import RunError, RunInterruptedError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal ui`."""
    add_runs(parser)
    parser.add_argument("--port", type=_port, metavar="N", help="0 for any (default: next free)")
    parser.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="open it in the browser (default: yes)",
    )


def main(arguments: argparse.Namespace) -> int:
    """Serve the page until it is interrupted.

    Raises:
        RunError: A folder cannot be read, or the port is in use.
        RunInterruptedError: A signal other than ctrl-C stopped it.
    """
    roots = _roots(Path(arguments.runs))
    from polymodal.ui.server import Server

    server = Server(roots, arguments.port)
    try:
        print(server.address, flush=True)
        for root in roots:
            print(f"  runs of {plain(root)}", flush=True)
        print("  ctrl-C stops it", flush=True)
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

    folders: dict[Path, Path] = {}
    for path in (root.expanduser() for root in roots(runs)):
        folders.setdefault(path.resolve(), path)
    for path in folders.values():
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is not a folder", hint="name the folder of the runs")
    if not any(path.is_dir() for path in folders.values()):
        raise RunError(
            f"there is no folder {', '.join(map(str, folders.values()))}",
            hint="`polymodal run` creates one; set another with --runs or POLYMODAL_RUNS",
        )
    return [*folders.values()]


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _open(address: str) -> None:
    """Open a graphical browser; a text browser would take over the terminal."""
    import webbrowser

    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in screens):
        print("  there is no screen here: open the address by hand", flush=True)
        return
    webbrowser.open(address)
