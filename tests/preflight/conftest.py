"""A project with faults planted in it, checked once for all tests that look for them."""

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
from _pytest.mark import ParameterSet

from polymodal.preflight.check import Report, check_all, check_fast
from polymodal.preflight.compose_all import compose_all

ROWS = [("a", "s1", "joy"), ("b", "s1", "anger"), ("c", "s2", "joy"), ("d", "s2", "anger")]
ROWS += [("e", "s3", "joy"), ("f", "s3", "anger"), ("g", "s4", "joy"), ("h", "s4", "anger")]

HEAD = "# @package _global_\n"
TEXT = HEAD + "defaults:\n  - override /encoder: [characters]\n  - override /model: unimodal\n"
MINE = "configs/experiment/mine.yaml"
TABLE = [
    "experiment=mine",
    "corpus=table",
    "corpus.root=data",
    "corpus.classes=[joy,anger]",
    "encoder=logmel",
    "model=unimodal",
    "encoder.speech.width=16",
]
HEADS = """
import torch
from polymodal.models.base import Model

class Narrow(Model):
    def __init__(self, feature_sizes, num_outputs, *, width: int = 8, unused: int = 1):
        super().__init__(feature_sizes, num_outputs)
        ((self.name, size),) = self.feature_sizes.items()
        self.first, self.second = torch.nn.Linear(size, width), torch.nn.Linear(width, num_outputs)
    def forward(self, modalities):
        return self.second(self.first(modalities[self.name].values.mean(dim=1)))

class Idle(Narrow):
    def __init__(self, feature_sizes, num_outputs, *, width: int = 8):
        super().__init__(feature_sizes, num_outputs, width=width)
        self.forgotten = torch.nn.Linear(2, 2)

class Infinite(Narrow):
    def forward(self, modalities):
        return super().forward(modalities) * float("nan")

class Crooked(Narrow):
    def forward(self, modalities):
        return self.first(self.first(modalities[self.name].values.mean(dim=1)))

class Raising(Narrow):
    def __init__(self, feature_sizes, num_outputs, *, width: int = 8):
        raise RuntimeError("there is no such width")

def slow(optimizer, total_steps: int, *, warmup_steps: int):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
"""
PACKAGE = {"mine/__init__.py": "", "mine/heads.py": HEADS}


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


class Fault(NamedTuple):
    """A fault that a check must find.

    Args:
        rule: The rule that finds it.
        key: The key that it names.
        file: End of the path of the file that it points to; None for the command line.
        text: Piece of the line that it points to, or the override; None for a file as such.
    """

    rule: str
    key: str
    file: str | None
    text: str | None


class Planted(NamedTuple):
    """A project, and the faults in it."""

    project: Project
    faults: Sequence[tuple[str, str, str | None, str | None]]


def mine(text: str, *overrides: str, **options: Any) -> Project:
    """A project with one experiment."""
    files = {MINE: text, **options.pop("files", {})}
    return Project(files, ("experiment=mine", *overrides), **options)


def planted_faults(planted: Mapping[str, Planted]) -> list[ParameterSet]:
    """One case for each fault: the name of its project, and the fault."""
    cases = []
    for name, (_, faults) in planted.items():
        assert faults, name
        assert len({fault[:2] for fault in faults}) == len(faults), name
        for fault in itertools.starmap(Fault, faults):
            cases.append(pytest.param(name, fault, id=f"{name}-{fault.key}-{fault.rule}"))
    return cases


def assert_found(report: Report, fault: Fault) -> None:
    """Asserts that a fault was found, in its line or override."""
    findings = {(finding.rule, finding.key): finding for finding in report.findings[::-1]}
    assert (fault.rule, fault.key) in findings, [*findings]
    origin = findings[fault.rule, fault.key].origin
    assert origin is not None
    if fault.file is None:
        assert origin.override == fault.text
        return
    assert origin.file is not None
    assert origin.file.as_posix().endswith(fault.file)
    if fault.text is not None:
        text = origin.file.read_text(encoding="utf-8", errors="replace")
        lines = enumerate(text.splitlines(), start=1)
        assert origin.line in [number for number, line in lines if fault.text in line]


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
