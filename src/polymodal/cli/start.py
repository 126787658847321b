"""What every command does that builds models: heavy imports once, the user's project, checks."""

import gc
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal.assemble.compose import Composed

NOISE = (
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*Trying to infer the `batch_size`.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*tensorboardX.*",
    ".*is smaller than the logging interval.*",
    ".*when logging on epoch level in distributed setting.*",  # scores are the same on all ranks
    ".*module\\(s\\) in eval mode at the start of training.*",  # what is frozen
    ".*barrier\\(\\): using the device under current context.*",
)


def prepare(project: Path) -> None:
    """Imports the heavy libraries without the garbage collector, and the user's project.

    Args:
        project: The folder in which the command was called.
    """
    gc.disable()  # saves about a third of the import time
    try:
        import polymodal.assemble.runner  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()
    if (project / "configs").is_dir() and str(project) not in sys.path:
        sys.path.insert(0, str(project))
    for name in ("pytorch_lightning", "lightning_fabric", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for pattern in NOISE:
        warnings.filterwarnings("ignore", message=pattern)


def checked(composed: "Composed") -> dict[str, Any]:
    """Resolves a configuration and refuses keys, values and targets that cannot work.

    Args:
        composed: The configuration.

    Returns:
        Plain types.

    Raises:
        ConfigError: With one line for every fault.
    """
    from polymodal.assemble.compose import project_packages
    from polymodal.assemble.variation import grid, varied
    from polymodal.preflight.signatures import check_signatures

    config = composed.resolved()
    projects = project_packages(Path.cwd())
    check_signatures(config, projects)
    for options in grid(config.get("selection", {}).get("grid")):
        check_signatures(varied(config, options), projects)
    return config
