"""The files that a configuration was composed of, in the order in which Hydra merges them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode


@dataclass(frozen=True)
class ConfigFile:
    """A file of a composition.

    Args:
        name: Its name in the tree, such as `experiment/sample/fusion`.
        package: The key below which it lands; empty for the whole tree.
        file: Its path; None where it is neither ours nor the project's.
        parent: Name of the file whose defaults list names it.
    """

    name: str
    package: str
    file: Path | None
    parent: str


class DefaultsFiles(Sequence[ConfigFile]):
    """The files behind a composition, read when they are first asked for.

    Hydra reads every file again for its defaults list, which takes half as long as composing.

    Args:
        config_module: Package of our tree.
        config_name: Which root: `run`, `vote`, `study` or `corpus`.
        overrides: As Hydra has composed them.
        folders: Folders of configurations, in the order in which Hydra looks.
    """

    def __init__(
        self,
        config_module: str,
        config_name: str,
        overrides: Sequence[str],
        folders: Sequence[Path],
    ) -> None:
        self.config_module, self.config_name = config_module, config_name
        self.overrides, self.folders = list(overrides), tuple(folders)

    @overload
    def __getitem__(self, index: int) -> ConfigFile: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ConfigFile]: ...
    def __getitem__(self, index: int | slice) -> ConfigFile | Sequence[ConfigFile]:
        return self._files[index]

    def __len__(self) -> int:
        return len(self._files)

    @cached_property
    def _files(self) -> tuple[ConfigFile, ...]:
        GlobalHydra.instance().clear()
        with initialize_config_module(config_module=self.config_module, version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            defaults = loader.compute_defaults_list(self.config_name, self.overrides, RunMode.RUN)
        return tuple(
            ConfigFile(
                str(default.config_path),
                str(default.package or ""),
                self._path(str(default.config_path)),
                str(default.parent or ""),
            )
            for default in defaults.defaults
        )

    def _path(self, name: str) -> Path | None:
        files = (folder / f"{name}.yaml" for folder in self.folders)
        return next((file for file in files if file.is_file()), None)
