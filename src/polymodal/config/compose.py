"""Composes the Hydra tree, and says in one sentence what is wrong with an override."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from polymodal.config.explain import Composition, explained, several_values, unknown_key
from polymodal.config.files import ConfigFile, DefaultsFiles
from polymodal.config.override_grammar import OverrideError, in_hydra_grammar, parse, quoted_text
from polymodal.config.partial_resolve import broken_reference
from polymodal.config.run_encoders import addable_overrides, settle_encoder_runs
from polymodal.config.schema import PathOptions
from polymodal.config.similar_keys import KnownKeys
from polymodal.errors import ConfigError, RunError, UnreadableConfigError
from polymodal.schemas.run_record import RunRecord
from polymodal.security.paths import resolve_inside

CONFIG_MODULE = "polymodal.configs"
CONFIGS = Path(__file__).parents[1] / "configs"
# In the configuration of a pushed run: below the folder that the configuration is read from.
IN_FOLDER = "folder:"
ANCHORED = ("from_run", "name")  # options of encoders
# Groups that a configuration may do without.
OPTIONAL = ("callbacks", "tracker", "alert")
ROOTS = ("run", "study", "vote", "corpus")


@dataclass(frozen=True)
class ComposedConfig:
    """A composed configuration.

    Args:
        config: The tree, its interpolations unresolved.
        choices: Group to the chosen option.
        overrides: What the user asked for.
        name: Name of the experiment or study, or of the corpus and model.
        layers: The files that it was composed of, in the order in which they were merged.
    """

    config: DictConfig
    choices: dict[str, Any]
    overrides: tuple[str, ...]
    name: str
    layers: Sequence[ConfigFile] = ()

    def resolved(self) -> dict[str, Any]:
        """Return the tree as plain types, interpolations resolved.

        Raises:
            ConfigError: A value is missing, or an interpolation leads nowhere.
        """
        try:
            values = OmegaConf.to_container(self.config, resolve=True, throw_on_missing=True)
        except MissingMandatoryValue as error:
            key = error.full_key
            hint = f"give it on the command line: {key}=…"
            raise ConfigError(f"{key} has no value", hint=hint) from None
        except OmegaConfBaseException as error:
            reason = broken_reference(error)
            key = getattr(error, "full_key", None) or "a value"
            raise ConfigError(f"{key} {reason.problem}", hint=reason.hint) from None
        assert isinstance(values, dict)
        return {str(key): value for key, value in values.items()}

    def value(self, key: str) -> Any:
        """Return a value of the tree.

        Returns:
            The value; None where there is no such key.
        """
        return OmegaConf.select(self.config, key)

    def text(self) -> str:
        """Return the tree as YAML, interpolations unresolved."""
        return OmegaConf.to_yaml(self.config)


def compose(
    overrides: Sequence[str], *, config_name: str = "run", project: Path | None = None
) -> ComposedConfig:
    """Compose a configuration from our tree, the project's `configs/`, and overrides.

    Args:
        overrides: In Hydra's grammar, such as `model=unimodal trainer.max_epochs=5`.
        config_name: Which root: `run`, `vote`, `study` or `corpus`.
        project: Folder that may have a `configs/`; the current one by default.

    Raises:
        ConfigError: An override does not parse, names an unknown key, group or option.
    """
    folder = project or Path.cwd()
    extra = search_path(folder)
    resolved_overrides = [*in_hydra_grammar(overrides), *extra]
    GlobalHydra.instance().clear()
    with initialize_config_module(config_module=CONFIG_MODULE, version_base="1.3"):
        try:
            config = hydra_compose(config_name, resolved_overrides, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise explained(error, _composition(config_name, overrides, extra)) from None
        except (YAMLError, UnicodeDecodeError) as error:
            raise UnreadableConfigError(
                f"a configuration file cannot be read: {_first_words(error)}",
                hint="`polymodal check` says where",
            ) from None
        except (ValueError, RecursionError) as error:
            # Hydra's own for an option that is null, true or a number, and for defaults lists
            if (not_chosen := _not_an_option(_choices(overrides))) is not None:
                raise not_chosen from None
            raise explained(error, _composition(config_name, overrides, extra)) from None
    choices = dict(config.hydra.runtime.choices)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    _complete(config, config_name, overrides)
    layers = DefaultsFiles(
        CONFIG_MODULE, config_name, resolved_overrides, (CONFIGS, folder / "configs")
    )
    settle_encoder_runs(config, overrides, layers)
    OmegaConf.set_struct(config, True)
    return ComposedConfig(config, choices, tuple(overrides), _name(choices, config_name), layers)


def _complete(config: DictConfig, config_name: str, overrides: Sequence[str]) -> None:
    """Reject overrides `~key` of what is needed; callbacks, trackers and alerts may be none."""
    deleted = {override[1:].partition("=")[0] for override in overrides if override[:1] == "~"}
    for key in sorted((deleted & {*top_level_keys(config_name)}) - {*config}):
        if key not in OPTIONAL:
            raise ConfigError(
                f"~{key} removes what `polymodal {config_name}` needs",
                expected=f"a value of {key}",
                hint=f"leave ~{key} out, or choose another option with {key}=…",
            )
        config[key] = {}


def runs_folder(overrides: Sequence[str] = (), *, project: Path | None = None) -> Path:
    """Return the folder of runs, or several as in `roots`, of a command with such overrides."""
    paths = [override for override in overrides if override.lstrip("+~").startswith("paths")]
    return PathOptions(**compose(paths, project=project).resolved()["paths"]).runs_folder


@cache
def top_level_keys(root: str) -> tuple[str, ...]:
    """Return the keys that a configuration has beside its groups, and the groups.

    Args:
        root: Name of the root: `run`, `vote`, `study` or `corpus`.
    """
    own_keys = {str(key) for key in OmegaConf.load(CONFIGS / f"{root}.yaml")} - {"defaults"}
    return tuple(sorted(own_keys | _groups(root) - {"hydra", "experiment", "debug"}))


def _groups(root: str) -> frozenset[str]:
    """The groups that the defaults list of a root names."""
    node = OmegaConf.load(CONFIGS / f"{root}.yaml")
    assert isinstance(node, DictConfig)
    return frozenset(
        str(name) for item in node.defaults if not isinstance(item, str) for name in item
    )


def search_path(project: Path) -> list[str]:
    """Return the override that adds a project's own configs to Hydra's search path.

    Returns:
        One override, or none where the folder has no `configs/`.
    """
    folder = (project / "configs").resolve()
    is_projects = folder.is_dir() and folder != CONFIGS.resolve()
    return [f"hydra.searchpath=[{quoted_text(f'file://{folder}')}]"] if is_projects else []


def project_packages(project: Path) -> tuple[str, ...]:
    """Return the names of the packages of a project, which its configs may name as `_target_`.

    Args:
        project: A folder; it is a project if it has `configs/`.

    Returns:
        Names of its top-level packages and modules.
    """
    if not search_path(project):
        return ()
    packages = [path.parent.name for path in project.glob("*/__init__.py")]
    modules = [path.stem for path in project.glob("*.py")]
    return tuple(sorted({*packages, *modules} - {"tests", "setup", "conftest"}))


def available_choices(group: str) -> list[str]:
    """Return the options of a group, ours and the project's.

    Args:
        group: Such as `experiment`.

    Returns:
        Such as `emodb/egemaps`, sorted.
    """
    trees = [CONFIGS / group, Path.cwd() / "configs" / group]
    files = [(tree, file) for tree in trees for file in tree.rglob("*.yaml")]
    return sorted({file.relative_to(tree).with_suffix("").as_posix() for tree, file in files})


def apply_overrides(composed: ComposedConfig, overrides: Sequence[str]) -> ComposedConfig:
    """Apply overrides to a configuration that a run has stored.

    A group (`corpus=table`) is composed anew and replaces its section, except for values that must
    be given (such as `corpus.classes`), which stay; `key=value` changes a value.

    Raises:
        ConfigError: An override names an unknown key, group or option.
    """
    config, layers = composed.config.copy(), composed.layers
    choices = dict(composed.choices)
    OmegaConf.set_struct(config, False)
    for override in addable_overrides(overrides):
        key, _, option = override.partition("=")
        if key in choices:
            choices[key], chosen = option, compose([override])
            config[key] = _replaced(config[key], OmegaConf.select(chosen.config, key))
            layers = (
                *(layer for layer in layers if layer.package != key),
                *(layer for layer in chosen.layers if layer.package == key),
            )
        else:
            _change(config, override)
    settle_encoder_runs(config, overrides, ())
    OmegaConf.set_struct(config, True)
    return ComposedConfig(config, choices, tuple(overrides), composed.name, layers)


def _change(config: DictConfig, override: str) -> None:
    """Set, add or take out one option, in place."""
    parsed = parse(override)
    key = override.partition("=")[0].lstrip("+~")
    if parsed.is_sweep_override():
        raise several_values(override)
    if not parsed.is_add() and not parsed.is_force_add() and key not in _keys(config):
        known_keys = KnownKeys(_plain(config), project_packages(Path.cwd()))
        raise unknown_key(key, known_keys, override)
    section, _, name = key.rpartition(".")
    if parsed.is_delete():
        del OmegaConf.select(config, section)[name]
    else:
        OmegaConf.update(config, key, parsed.value(), merge=True, force_add=True)


def load_config(path: Path, name: str) -> ComposedConfig:
    """Read the configuration that a run has stored.

    Args:
        path: `config.yaml` of the run's folder.
        name: Name of the experiment.

    Raises:
        ConfigError: The file is missing or broken.
        DataError: It names a path that leaves its folder.
    """
    try:
        config = OmegaConf.load(path)
    except (OSError, OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path} holds no configuration")
    _fill(config)
    _anchor(config, path.parent)
    groups = {str(key): None for key in config if (CONFIGS / str(key)).is_dir()}
    return ComposedConfig(config, {**groups, **_chosen(path.parent)}, (), name)


def _chosen(folder: Path) -> dict[str, Any]:
    """The options that a run was composed of, as far as its record says it."""
    try:
        choices = RunRecord.read(folder / "run.json").notes.get("choices")
    except RunError:
        return {}
    return dict(choices) if isinstance(choices, dict) else {}


def _fill(config: DictConfig) -> None:
    """Add what a run stored by an older version lacks, as it is by default."""
    defaults = compose([]).config
    for key in defaults:
        if key not in config:
            config[key] = defaults[key]
    for section in ("data", "paths", "selection"):
        for name in defaults[section]:
            if name not in config[section]:
                config[section][name] = defaults[section][name]


def _anchor(config: DictConfig, folder: Path) -> None:
    """Turn what a pushed run names within its own folder into paths, wherever that lies now."""
    encoders = config.get("encoder")
    for section in encoders.values() if isinstance(encoders, DictConfig) else ():
        for key in ANCHORED if isinstance(section, DictConfig) else ():
            value = section.get(key)
            if isinstance(value, str) and value.startswith(IN_FOLDER):
                section[key] = str(resolve_inside(folder, value.removeprefix(IN_FOLDER)).resolve())


def _replaced(before: Any, chosen: Any) -> Any:
    """A newly composed section, with what it asks for taken from the one it replaces."""
    for name in list(chosen) if isinstance(chosen, DictConfig) else ():
        if OmegaConf.is_missing(chosen, name) and name in (before or ()):
            chosen[name] = before[name]
    return chosen


def _name(choices: dict[str, Any], config_name: str) -> str:
    if config_name != "run":
        return str(choices.get(config_name, config_name))
    return str(choices.get("experiment") or f"{choices['corpus']}/{choices['model']}")


def _choices(overrides: Sequence[str]) -> list[str]:
    """Those of the overrides that choose an option of a group."""
    keys = [override.partition("=")[0].lstrip("+") for override in overrides]
    return [
        override
        for key, override in zip(keys, overrides, strict=True)
        if key and available_choices(key) and "={" not in override
    ]


def _composition(config_name: str, overrides: Sequence[str], extra: Sequence[str]) -> Composition:
    """Return what Hydra could not compose, for its explanation."""
    chosen = [*_choices(overrides), *extra]
    return Composition(
        config_name,
        overrides,
        lambda: _known_keys(config_name, chosen),
        available_choices,
        lambda group: [root for root in ROOTS if group in _groups(root)],
    )


def _known_keys(config_name: str, chosen: Sequence[str]) -> KnownKeys | None:
    try:
        config = hydra_compose(config_name, in_hydra_grammar(chosen))
    except (HydraException, OmegaConfBaseException):  # the fault is in what they choose
        return None
    groups = sorted(_groups(config_name) & {"experiment", "debug"})
    return KnownKeys(_plain(config), project_packages(Path.cwd()), groups)


def _plain(config: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if not isinstance(node, DictConfig):
        return
    for key in node:
        yield f"{prefix}{key!s}"
        if not OmegaConf.is_missing(node, key):
            yield from _keys(node._get_node(key), f"{prefix}{key!s}.")


def _not_an_option(chosen: Sequence[str]) -> ConfigError | None:
    """Return the error for an override that gives a group a value that is no option's name."""
    for override in chosen:
        group, _, value = override.partition("=")
        options = available_choices(group.lstrip("+"))
        if value in ("null", "true", "false") or value.replace(".", "").isdigit():
            return OverrideError(
                override,
                f"{override} chooses no option of the group",
                expected=f"one of {', '.join(options)}",
                hint=f"to leave the group out, write ~{group.lstrip('+')}",
            )
    return None


def _first_words(error: BaseException | None) -> str:
    """The first line of an error, or of what caused it where it says nothing itself."""
    while error is not None and not str(error).strip():
        error = error.__cause__ or error.__context__
    return str(error).strip().splitlines()[0]
