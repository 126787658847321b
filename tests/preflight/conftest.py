"""A project with faults planted in it, checked once for all tests that look for them."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

from polymodal.preflight.check import Report, check_all, check_fast
from polymodal.preflight.compose_all import compose_all

ROWS = [("a", "s1", "joy"), ("b", "s1", "anger"), ("c", "s2", "joy"), ("d", "s2", "anger")]
ROWS += [("e", "s3", "joy"), ("f", "s3", "anger"), ("g", "s4", "joy"), ("h", "s4", "anger")]


@dataclass(frozen=True)
class Project:
    """Files of a project, and how it is checked.

    Args:
        files: Path below the project to its text.
        overrides: Of the command line.
        whole: Whether data and the dry run are checked, too.
        effects: Whether options are changed one by one.
        rows: Id, speaker and label of the corpus `data/`; none for no corpus.
    """

    files: Mapping[str, str | bytes] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    whole: bool = False
    effects: bool = False
    rows: Sequence[tuple[str, str, str]] = ()

    def write(self, folder: Path) -> None:
        """Writes the files, and a second of noise for each row of the corpus."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        rng = np.random.default_rng(0)
        for name, _, _ in self.rows:
            (folder / "data").mkdir(exist_ok=True)
            if not (folder / "data" / f"{name}.wav").exists():
                samples = rng.normal(0, 0.1, 16000)
                soundfile.write(folder / "data" / f"{name}.wav", samples, 16000)
        if self.rows:
            lines = [f"{name}.wav,{speaker},{label}\n" for name, speaker, label in self.rows]
            (folder / "data" / "manifest.csv").write_text("audio,speaker,label\n" + "".join(lines))

    def check(self) -> Report:
        """Checks the project in the current folder."""
        if self.whole:
            return check_all(self.overrides, with_effects=self.effects)
        composed, faults = compose_all(self.overrides)
        report = Report(faults)
        if composed is not None:
            check_fast(composed, report)
        return report


@pytest.fixture(scope="session")
def checked(tmp_path_factory, cache):
    """Projects that have been checked: name to folder and report."""
    done = {}

    def of(name: str, project: Project) -> tuple[Path, Report]:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            project.write(folder)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                patch.setenv("POLYMODAL_CACHE", str(cache))
                patch.syspath_prepend(str(folder))
                done[name] = (folder, project.check())
            for module in [one for one in sys.modules if one.partition(".")[0] == "mine"]:
                del sys.modules[module]
        return done[name]

    return of
