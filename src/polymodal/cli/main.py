"""The command line: run a command, and turn errors into exit codes."""

import argparse
import importlib
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType, ModuleType
from typing import Any, NoReturn

from polymodal import __version__
from polymodal.errors import (
    ConfigError,
    RunFailedError,
    RunInterruptedError,
    UserError,
    nearest,
    suggest,
)

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
# What other programs call a command.
SYNONYMS: Mapping[str, str] = {
    **dict.fromkeys(("train", "fit", "start"), "run"),
    **dict.fromkeys(("eval", "evaluate", "validate", "score"), "test"),
    **dict.fromkeys(("infer", "inference", "classify"), "predict"),
    **dict.fromkeys(("ensemble", "fuse", "fusion", "voting"), "vote"),
    **dict.fromkeys(("ls", "list", "history"), "runs"),
    **dict.fromkeys(("sweep", "search", "hparams"), "run -m"),
    **dict.fromkeys(("extract", "cache"), "embed"),
    **dict.fromkeys(("prepare", "preprocess", "manifest", "data"), "corpus"),
    **dict.fromkeys(("export", "publish", "upload"), "push"),
    **dict.fromkeys(("migrate", "update"), "upgrade"),
    **dict.fromkeys(("lint", "dry-run"), "check"),
}
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
        hint = _command_hint(arguments[0])
        _complain(f"there is no command {arguments[0]!r}\n  hint: {hint}")
        return 2
    return _guarded(arguments[0], arguments[1:])


def _guarded(command: str, rest: Sequence[str]) -> int:
    module = importlib.import_module(f"polymodal.cli.{command}")
    try:
        parsed = _parse(command, module, rest)
    except UserError as error:
        _complain(str(error))
        return error.exit_code
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
    parser = CommandParser(
        prog=f"polymodal {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parsed, more = parser.parse_known_args(rest)
    options = [word for word in more if word.startswith("-")]
    target = next((name for name in ("overrides", "filters") if hasattr(parsed, name)), None)
    if options or (more and target is None):
        raise _unknown_flag(command, parser, (options or more)[0])
    if more and target:  # positional arguments may come before and after an option
        setattr(parsed, target, [*getattr(parsed, target), *more])
    return parsed


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are like all others: what is wrong, what was expected, a hint."""

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """Declare an argument; without a default, one of any number would count as required."""
        if options.get("nargs") == "*":
            options.setdefault("default", [])
        return super().add_argument(*names, **options)

    def error(self, message: str) -> NoReturn:
        """Reject the arguments.

        Raises:
            ConfigError: Always.
        """
        missing = "the following arguments are required: "
        if message.startswith(missing):
            message = f"{self.prog} needs {message.removeprefix(missing)}"
        usage = " ".join(self.format_usage().removeprefix("usage: ").split())
        raise ConfigError(
            message, expected=usage, hint=f"`{self.prog} --help` explains all of them"
        )


def _unknown_flag(command: str, parser: argparse.ArgumentParser, word: str) -> ConfigError:
    """A flag that a command does not have, or a word where none is taken."""
    name = word.lstrip("-").partition("=")[0]
    flags = sorted(set(re.findall(r"--[a-z][a-z-]*", parser.format_help())))
    hint = nearest(word.partition("=")[0], flags)
    takes_options = "KEY=VALUE" in parser.format_usage()
    if word.startswith("--") and not hint.startswith("did you mean") and takes_options:
        hint = f"options of the experiment have no dashes: write {name}=VALUE"
    if not word.startswith("-"):
        hint = f"`polymodal {command} --help` shows what it takes"
    kind = "flag" if word.startswith("-") else "argument"
    return ConfigError(f"polymodal {command} has no {kind} {word}", hint=hint)


def _command_hint(word: str) -> str:
    """Return the command that was meant: of the same meaning, or the same spelling."""
    match = suggest(word.lower(), [*COMMANDS, *SYNONYMS])
    if match is None:
        return nearest(word, COMMANDS)
    return f"did you mean {SYNONYMS.get(match, match)!r}?"


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {description}" for name, description in COMMANDS.items()]
    usage = "usage: polymodal COMMAND [arguments]\n\nExperiments on speech, words and signals."
    return "\n".join([usage, "", *lines, "", EPILOG])


def _complain(message: str) -> None:
    print(f"polymodal: {message}", file=sys.stderr)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise RunInterruptedError(signum)
