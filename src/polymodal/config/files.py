"""The files that a configuration was composed of, as Hydra merges them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra


@dataclass(frozen=True)
class ConfigFile:
    """A file of a composition.

    Args:
        name: Its name in the tree, such as `experiment/sample/fusion`.
        package: The key below which it lands; empty for the whole tree.
        file: Where it is; None where it is no file of ours or of the project.
        parent: Name of the file whose defaults list names it.
    """

    name: str
    package: str
    file: Path | None
    parent: str


def capture_defaults_list() -> list[Any]:
    """Makes a list that Hydra's next composition fills with what it merges.

    Hydra computes this list in each composition and keeps it to itself; to ask for it a second
    time reads every file again, which takes as long as the composition. To be called once Hydra
    has been initialised.

    Returns:
        An empty list; later one entry a file, in the order in which they were merged.
    """
    loader: Any = GlobalHydra.instance().config_loader()
    merge = loader._compose_config_from_defaults_list
    merged: list[Any] = []

    def watched(defaults: list[Any], repo: Any) -> Any:
        merged[:] = defaults
        return merge(defaults=defaults, repo=repo)

    loader._compose_config_from_defaults_list = watched
    return merged


def config_file_of(default: Any, places: Sequence[Path]) -> ConfigFile:
    """Describes one entry of what Hydra merges.

    Args:
        default: The entry.
        places: Folders of configurations, in the order in which Hydra looks.

    Returns:
        The layer; its file is that of the first folder that has it.
    """
    name = str(default.config_path)
    files = (place / f"{name}.yaml" for place in places)
    file = next((one for one in files if one.is_file()), None)
    return ConfigFile(name, str(default.package or ""), file, str(default.parent or ""))
