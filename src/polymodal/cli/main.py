"""The command line: run a command, and turn errors into exit codes."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType, ModuleType

from polymodal import __version__
from polymodal.errors import RunFailedError, RunInterruptedError, UserError, nearest

COMMANDS: Mapping[str, str] = {
    "run": "train, test and record one experiment",
    "check": "validate an experiment without training it",
    "upgrade": "migrate YAML and Python to the installed libraries",
    "doctor": "diagnose packages, devices, disk, clock and configs",
    "test": "score a finished run on a split or on other data",
    "predict": "write a prediction table for any manifest, labelled or not",
    "embed": "precompute the features of frozen encoders",
    "vote": "late fusion of finished runs",
    "study": "train, vote and compare members over folds and seeds as one experiment",
    "compare": "compare runs pairwise: difference, interval, p",
    "runs": "list, filter, archive or delete runs",
    "show": "show one run or study",
    "ui": "browse all runs live: table, curves, differences",
    "report": "write the page of a run or study: scores, curves, errors, data",
    "sync": "upload missing steps to trackers",
    "push": "export a run to a Hugging Face folder: weights, labels, model card, data card",
    "features": "list or prune the feature store",
    "corpus": "convert a raw corpus to a manifest, or check one",
    "encoder": "convert a pickled checkpoint to safetensors",
}
HIDDEN = ("_study_worker",)  # started by a study in its own processes
EPILOG = """exit codes: 0 done, 1 the run failed, 2 bad input or config (nothing started),
130 interrupted by the user, 143 terminated by a signal

Run `polymodal COMMAND --help` for details."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` is `sys.argv[1:]` by default."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"polymodal {__version__}")
        return 0
    if arguments[0] not in (*COMMANDS, *HIDDEN):
        hint = nearest(arguments[0], COMMANDS)
        _complain(f"there is no command {arguments[0]!r}\n  hint: {hint}")
        return 2
    return _guarded(arguments[0], arguments[1:])


def _guarded(command: str, rest: Sequence[str]) -> int:
    module = importlib.import_module(f"polymodal.cli.{command}")
    parsed = _parse(command, module, rest)
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, _stop) for number in signals}
    try:
        return int(module.main(parsed))
    except (UserError, RunFailedError, RunInterruptedError) as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:  # the reader of the pipe, such as `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _parse(command: str, module: ModuleType, rest: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"polymodal {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parsed, more = parser.parse_known_args(rest)
    options = [word for word in more if word.startswith("-")]
    target = next((name for name in ("overrides", "filters") if hasattr(parsed, name)), None)
    if options or (more and target is None):
        parser.error(f"unrecognized arguments: {' '.join(options or more)}")
    if more and target:  # positional arguments may come before and after an option
        setattr(parsed, target, [*getattr(parsed, target), *more])
    return parsed


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {description}" for name, description in COMMANDS.items()]
    usage = "usage: polymodal COMMAND [arguments]\n\nExperiments on speech, words and signals."
    return "\n".join([usage, "", *lines, "", EPILOG])


def _complain(message: str) -> None:
    print(f"polymodal: {message}", file=sys.stderr)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise RunInterruptedError(signum)
