"""The interface of trackers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from polymodal.schemas.run_record import RunRecord

BESIDE = "trackers"  # folder of a run: the progress of each tracker


@dataclass(frozen=True)
class Start:
    """A run as trackers get it when it starts or is resumed."""

    run_id: str  # the run; a tracker keys it by this, so that runs are never merged
    project: str  # what the tracker files it under: model and corpus
    group: str  # runs of one experiment or study
    config: Mapping[str, Any]  # the configuration, resolved and redacted
    folder: Path  # the run folder
    name: str = ""  # description of the run, unique in the project
    kind: str = "run"  # `run`, `test`, `predict`, `vote` or `study`
    tags: tuple[str, ...] = ()  # kind, corpus, model and modalities
    num_lines: int = 0  # lines that the metrics log of a resumed run has already
    num_told: int = 0  # those of them that the tracker has, as far as the run folder knows

    @property
    def title(self) -> str:
        """The name, or the id of a run that has none."""
        return self.name or self.run_id


@runtime_checkable
class Tracker(Protocol):
    """Copy one run elsewhere; any method may raise, or take long, without harm to the run.

    Scores and the end are passed on by a thread, some lines at a time. A tracker may also have: a
    true attribute `remote`, to be started by that thread as well, because it may wait for a
    network; `place`, where it keeps runs; and a method `flush`, called after some lines, if `log`
    only gathers them.
    """

    def start(self, start: Start) -> int | None:
        """Start a run; return how many lines of the metrics log it has, if it knows itself."""

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Take the scores of one step."""

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """End the run, also one that failed."""


class NoTracker:
    """Copy nothing: the run folder has everything."""

    def start(self, start: Start) -> None:
        """Do nothing."""

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """Do nothing."""


def start_of(record: RunRecord, config: Mapping[str, Any], folder: Path, num_lines: int) -> Start:
    """Return a recorded run as trackers get it."""
    encoders = config.get("encoder")
    modalities = sorted(encoders) if isinstance(encoders, Mapping) else []
    chosen = record.notes.get("choices")
    tags = [record.kind, *(chosen.values() if isinstance(chosen, Mapping) else ()), *modalities]
    return Start(
        record.run_id,
        str(record.notes.get("project") or record.experiment.partition("/")[0]),
        record.parent or record.experiment,
        config,
        folder,
        record.name,
        record.kind,
        tuple(dict.fromkeys(str(word)[:64] for word in tags)),
        num_lines,
    )
