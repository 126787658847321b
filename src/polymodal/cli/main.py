"""The command line: finds the command, and turns errors into exit codes."""

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
    "check": "all that is wrong with an experiment, before anything is spent on it",
    "upgrade": "old YAML and Python to the installed Lightning, torchmetrics, Hydra, transformers",
    "doctor": "is this machine fit: releases, devices, disk, clock, what no longer binds",
    "test": "score a finished run on a split or on other data",
    "predict": "write a prediction table for any manifest, labelled or not",
    "embed": "features of frozen encoders, or embeddings of a finished run's encoders",
    "vote": "shallow fusion of finished runs",
    "study": "members, folds and seeds, votes and comparisons as one experiment",
    "compare": "paired comparison of runs: difference, interval, p",
    "runs": "list the runs here",
    "show": "show one run or study",
    "ui": "all runs as one page in the browser: table, curves, differences, live",
    "report": "one page of a run or study: scores, curves, errors, data, how to repeat it",
    "sync": "deliver to trackers what they lack of runs",
    "push": "a run as a Hugging Face folder: weights, labels, model card, data card",
    "features": "list the feature store, and remove what is no longer used",
    "corpus": "raw corpus to manifest, with every row that was refused and why",
    "encoder": "a pretrained model that is published as a pickle only to safetensors",
}
HIDDEN = ("_study_worker",)  # what a study starts in processes of its own
EPILOG = """exit codes: 0 done, 1 the run failed, 2 bad input or config (nothing started),
130 interrupted by the user, 143 terminated by a signal

`polymodal COMMAND --help` tells more about a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; those of the process by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"polymodal {__version__}")
        return 0
    if arguments[0] not in (*COMMANDS, *HIDDEN):
        _complain(
            f"there is no command {arguments[0]!r}\n  hint: {nearest(arguments[0], COMMANDS)}"
        )
        return 2
    return _guarded(arguments[0], arguments[1:])


def _guarded(command: str, rest: Sequence[str]) -> int:
    module = importlib.import_module(f"polymodal.cli.{command}")
    parsed = _parse(command, module, rest)
    previous = {one: signal.signal(one, _stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        return int(module.main(parsed))
    except (UserError, RunFailedError, RunInterruptedError) as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)


def _parse(command: str, module: ModuleType, rest: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"polymodal {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parsed, more = parser.parse_known_args(rest)
    options = [word for word in more if word.startswith("-")]
    words = next((one for one in ("overrides", "filters") if hasattr(parsed, one)), None)
    if options or (more and words is None):
        parser.error(f"unrecognized arguments: {' '.join(options or more)}")
    if more and words:  # they may stand before and behind an option
        setattr(parsed, words, [*getattr(parsed, words), *more])
    return parsed


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {words}" for name, words in COMMANDS.items()]
    usage = "usage: polymodal COMMAND [arguments]\n\nExperiments on speech, words and signals."
    return "\n".join([usage, "", *lines, "", EPILOG])


def _complain(message: str) -> None:
    print(f"polymodal: {message}", file=sys.stderr)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise RunInterruptedError(signum)
