"""Run Hydra's flags: sweeps (each job in its own process), `--cfg` and `--info`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra as hydra_library
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from polymodal.config.compose import compose, search_path
from polymodal.config.override_grammar import in_hydra_grammar
from polymodal.errors import ConfigError
from polymodal.study.processes import start_command
from polymodal.tracking.index import roots


def hydra(flags: Sequence[str], overrides: Sequence[str], project: Path) -> int:
    """Let Hydra expand a sweep or print a configuration; return the worst exit code of the jobs.

    Each job of a sweep runs in its own process, so that jobs share no distributed state, trackers
    or memory.

    Raises:
        ConfigError: An override is invalid.
    """
    codes = [0]

    def job(_: DictConfig) -> None:
        task = list(HydraConfig.get().overrides.task)
        print(f"── polymodal run {' '.join(task)}", file=sys.stderr, flush=True)
        process = start_command(["run", *task], os.environ)
        process.join()
        codes.append(int(process.exitcode or 0))

    main = hydra_library.main(
        version_base="1.3", config_path="pkg://polymodal.configs", config_name="run"
    )(job)
    parsable = in_hydra_grammar([*_sweep_folder(), *overrides])
    argv = [*flags, *parsable, *search_path(project)]
    before, sys.argv = sys.argv, ["polymodal", *argv]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors instead of exiting
    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        compose(overrides)  # says in our words what is wrong
        raise ConfigError(
            f"the sweep cannot be composed: {str(error).strip().splitlines()[0]}",
            hint="polymodal check -m with the same words says more",
        ) from None
    finally:
        sys.argv = before
    return max(codes)


def _sweep_folder() -> list[str]:
    """Write sweeps to the first of several folders of POLYMODAL_RUNS."""
    runs = Path(os.environ.get("POLYMODAL_RUNS", "runs"))
    first = roots(runs)[0]
    return [] if first == runs else [f"hydra.sweep.dir={first}/.sweeps/${{now:%Y%m%d-%H%M%S}}"]
