"""Prepare commands that build models: heavy imports, the user's project, checks."""

import gc
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.errors import ConfigError
from polymodal.waiting import say_if_slow

if TYPE_CHECKING:
    from polymodal.config.compose import ComposedConfig

NOISE = (
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*You defined a `validation_step` but have no `val_dataloader`.*",  # split.val=0
    ".*Trying to infer the `batch_size`.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*tensorboardX.*",
    ".*is smaller than the logging interval.*",
    ".*when logging on epoch level in distributed setting.*",  # scores are the same on all ranks
    ".*module\\(s\\) in eval mode at the start of training.*",  # what is frozen
    ".*barrier\\(\\): using the device under current context.*",
)


def prepare() -> None:
    """Import the heavy libraries without the garbage collector, and the packages of the project."""
    gc.disable()  # saves about a third of the import time
    try:
        with say_if_slow("loading PyTorch and Lightning"):
            import polymodal.runs.train  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()
    project = Path.cwd()
    if (project / "configs").is_dir() and str(project) not in sys.path:
        sys.path.insert(0, str(project))
    for name in ("pytorch_lightning", "lightning_fabric", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for pattern in NOISE:
        warnings.filterwarnings("ignore", message=pattern)


def checked(composed: "ComposedConfig") -> dict[str, Any]:
    """Resolve a configuration and reject errors that can be found without data.

    Raises:
        ConfigError: With the details of every error.
    """
    from polymodal.preflight.check import Report, check_fast, raise_if_errors

    report = Report()
    check_fast(composed, report)
    raise_if_errors(report)
    return composed.resolved()


def checked_stored(composed: "ComposedConfig", run: Path) -> dict[str, Any]:
    """Check the configuration of a recorded run, with a hint for runs of older releases.

    Raises:
        ConfigError: With the details of every error.
    """
    try:
        return checked(composed)
    except ConfigError as error:
        from polymodal.upgrade.run_folders import is_outdated

        if not is_outdated(run):
            raise
        hint = f"polymodal upgrade {run} --write"
        raise ConfigError(f"an earlier polymodal recorded this run\n{error}", hint=hint) from None


def composed_and_checked(overrides: Sequence[str]) -> tuple["ComposedConfig", dict[str, Any]]:
    """Compose a run, reject invalid overrides and options, and return it with its plain values.

    Raises:
        ConfigError: With the details of every error.
    """
    from polymodal.preflight.check import Report, check_fast, raise_if_errors
    from polymodal.preflight.compose_all import compose_all
    from polymodal.training.distributed import rank

    composed, faults = compose_all(overrides)
    report = Report(faults)
    if composed is not None:
        check_fast(composed, report)
    raise_if_errors(report)
    assert composed is not None  # otherwise there is an error
    for finding in report.findings if rank() == 0 else ():
        print(f"warning: {finding.text()}", file=sys.stderr)
    return composed, composed.resolved()
