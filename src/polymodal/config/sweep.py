"""What a sweep expands to: the overrides of each of its jobs."""

from collections.abc import Sequence
from itertools import islice, product
from math import prod
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from polymodal.config.compose import CONFIG_MODULE, search_path
from polymodal.config.override_grammar import OverrideError, in_hydra_grammar

MAX_JOBS = 32


def sweep_jobs(overrides: Sequence[str]) -> tuple[list[list[str]], int]:
    """Expand a sweep, with what `hydra.sweeper.params` sweeps over.

    Returns:
        The overrides of each job, at most `MAX_JOBS`, and how many there are beyond them. Ranges
        that a sweeper draws from (`interval(0, 1)`) are left out.

    Raises:
        OverrideError: An override does not parse.

    Example:
        >>> sweep_jobs(["seed=0,1", "model=mlp"])
        ([['seed=0', 'model=mlp'], ['seed=1', 'model=mlp']], 0)
    """
    given = [_values(override) for override in overrides]
    plain = [word for word, values in zip(overrides, given, strict=True) if values == [word]]
    in_files = map(_values, _swept_in_files(plain, overrides))
    values = [value for value in (*in_files, *given) if value]
    jobs = [list(job) for job in islice(product(*values), MAX_JOBS)]
    return jobs, prod(map(len, values)) - len(jobs)


def _swept_in_files(plain: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """What files sweep over and the command line, whose plain overrides are named, does not."""
    with initialize_config_module(config_module=CONFIG_MODULE, version_base="1.3"):
        try:
            config = compose(
                "run",
                [*in_hydra_grammar(plain), *search_path(Path.cwd())],
                return_hydra_config=True,
            )
        except (
            HydraException,
            OmegaConfBaseException,
            YAMLError,
        ):  # reported when a job is composed
            return []
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    given = {override.partition("=")[0].lstrip("+~") for override in overrides}
    return [f"{key}={value}" for key, value in params.items() if key.lstrip("+~") not in given]


def _values(word: str) -> list[str]:
    """An override once for each value that it sweeps over."""
    GlobalHydra.instance().clear()
    with initialize_config_module(config_module=CONFIG_MODULE, version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        try:
            parser = OverridesParser.create(config_loader=loader)
            (override,) = parser.parse_overrides(in_hydra_grammar([word]))
            if not override.is_sweep_override():
                return [word]
            if not override.is_discrete_sweep():
                return []
            key = override.get_key_element()
            return [f"{key}={value}" for value in override.sweep_string_iterator()]
        except (HydraException, ValueError) as error:
            raise OverrideError(
                word,
                f"{word!r} cannot be read: {str(error).strip().splitlines()[0]}",
                expected="key=value, or key=a,b to sweep over",
                hint="put text with commas in quotation marks: 'key=\"a,b\"'",
            ) from None
