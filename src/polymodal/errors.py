"""Errors that a user can meet: the problem, what was expected, and a hint."""

import difflib
import json
import signal
from collections.abc import Iterable, Sequence
from typing import Any

# Why the operating system does not open a file.
REASONS: dict[type[Exception], str] = {
    FileNotFoundError: "there is no such file",
    IsADirectoryError: "it is a folder",
    NotADirectoryError: "a part of its path is a file",
    PermissionError: "this user may not open it",
}


class UserError(Exception):
    """A mistake of the user; the command line shows it without a traceback and exits with 2.

    Args:
        message: The problem and where it is: file, row, id or key.
        expected: What was expected instead; may be empty.
        hint: How to fix it; may be empty.

    Example:
        >>> print(UserError("row 3: label 'hapy'", hint="correct the label"))
        row 3: label 'hapy'
          hint: correct the label
    """

    exit_code = 2

    def __init__(self, message: str, *, expected: str = "", hint: str = "") -> None:
        self.message, self.expected, self.hint = message, expected, hint
        lines = [message]
        if expected:
            lines.append(f"  expected: {expected}")
        if hint:
            lines.append(f"  hint: {hint}")
        super().__init__("\n".join(lines))


class ConfigError(UserError):
    """An option, key or value of the configuration cannot be used: correct that key."""


class UnreadableConfigError(ConfigError):
    """A configuration file is not YAML, or cannot be opened: correct the file."""


class OutputShapeError(ConfigError):
    """A component returns a tensor of another shape than it promised; `section` is its key."""

    def __init__(self, message: str, *, section: str, expected: str, hint: str) -> None:
        super().__init__(message, expected=expected, hint=hint)
        self.section = section


class ManifestError(UserError):
    """The rows of a corpus cannot be used: correct the rows named, or allow to reject them."""


class RejectedRowsError(ManifestError):
    """More rows of a corpus cannot be used than allowed; `refused` has them all, with reasons."""

    def __init__(
        self, message: str, *, expected: str = "", hint: str = "", refused: Sequence[Any] = ()
    ) -> None:
        super().__init__(message, expected=expected, hint=hint)
        self.refused = tuple(refused)


class MissingCorpusError(ManifestError):
    """The folder or file of a corpus is not on this machine."""


class DataError(UserError):
    """A file behind a manifest cannot be used: fix or remove the file named."""


class SplitError(UserError):
    """The corpus cannot be split as asked: choose another split or other groups."""


class PredictionError(UserError):
    """Prediction tables do not fit together: use tables of the same ids, classes and folds."""


class RunError(UserError):
    """A run folder cannot be found, read or continued: name another run."""


class CheckpointError(UserError):
    """A checkpoint is damaged or does not fit: use another checkpoint."""


class MissingExtraError(UserError):
    """An optional package is not installed: install the extra named."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed",
            hint=f"pip install 'polymodal[{extra}]'",
        )
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[type["MissingExtraError"], tuple[str, str]]:
        return type(self), (self.package, self.extra)  # worker processes send errors as pickles


class RunFailedError(Exception):
    """A run failed after its start; its folder has the traceback."""

    exit_code = 1


class RunInterruptedError(BaseException):
    """A signal asked the process to end; not caught by `except Exception`.

    It replaces KeyboardInterrupt, which Lightning would turn into exit code 1.

    Args:
        signum: Number of the signal.

    Example:
        >>> RunInterruptedError(15).exit_code
        143
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


def reason_of(error: Exception) -> str:
    """Return in plain words why a file cannot be read.

    Example:
        >>> reason_of(FileNotFoundError(2, "No such file or directory", "a.csv"))
        'there is no such file'
        >>> reason_of(ValueError("magic number 0x1f"))
        'it is damaged, or of another format'
    """
    for kind, reason in REASONS.items():
        if isinstance(error, kind):
            return reason
    if isinstance(error, UnicodeDecodeError):
        return f"line {error.object[: error.start].count(bytes([10])) + 1} is not {error.encoding}"
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno} is not JSON"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "it is damaged, or of another format"


def suggest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to a misspelt one, or None.

    Example:
        >>> suggest("val/uarr", ["val/uar", "val/loss"])
        'val/uar'
    """
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1)), None)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint: the known name nearest to a misspelt one, or all of them.

    Example:
        >>> nearest("val/uarr", ["val/uar", "val/loss"])
        "did you mean 'val/uar'?"
    """
    names = sorted(known)
    match = suggest(name, names)
    return f"did you mean {match!r}?" if match else "known: " + (", ".join(names) or "none")
