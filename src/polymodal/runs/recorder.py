"""Record a run: create its folder and writer, and end it with a status in any case."""

import resource
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from polymodal.config.compose import ComposedConfig
from polymodal.config.instantiate import instantiate
from polymodal.config.schema import PathOptions
from polymodal.errors import RunFailedError, RunInterruptedError
from polymodal.runs.trackers import run_name, start_trackers
from polymodal.schemas.run_record import Mark, RunRecord
from polymodal.tracking.alerts import Alerts, NullChannel
from polymodal.tracking.environment import code_state, environment_text, host, versions
from polymodal.tracking.index import roots
from polymodal.tracking.metrics_log import MetricsLog, num_steps
from polymodal.tracking.redaction import redact, redact_text
from polymodal.tracking.run_folder import RunFolder
from polymodal.tracking.run_writer import NullWriter, RunWriter
from polymodal.tracking.trackers.background import TrackerGroup
from polymodal.tracking.trackers.base import start_of
from polymodal.tracking.warning_log import WarningLog
from polymodal.training.distributed import clear_run_dir, publish_run_dir, rank, wait_for_run_dir
from polymodal.training.oom_advice import memory_advice
from polymodal.training.progress import Display


@dataclass
class Session:
    """A run in progress.

    Args:
        path: The run folder, the same on every rank.
        writer: Writes logged scores; does nothing on ranks other than zero.
        run_id: Name of the run.
        scores: The final scores.
        marks: Why a score says less than its name.
        notes: Notes for the record.
        log_warning: Adds a displayed warning to the log.
    """

    path: Path
    writer: RunWriter | NullWriter
    run_id: str
    scores: dict[str, float] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    log_warning: Callable[[str], None] = lambda text: None

    def warn(self, display: Display, warnings: Iterable[str]) -> None:
        """Show warnings and keep them in the log."""
        for warning in warnings:
            display.print_line(f"warning: {warning}")
            self.log_warning(warning)


@contextmanager
def recording(
    composed: ComposedConfig,
    config: Mapping[str, Any],
    *,
    kind: str = "run",
    parent: str | None = None,
    data: Mapping[str, Any] | None = None,
    encoders: Mapping[str, Any] | None = None,
    higher_is_better: Mapping[str, bool] | None = None,
    resume: Path | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Generator[Session]:
    """Create the run folder, and end the run with a status whatever happens in the body.

    Args:
        composed: The configuration, for the record.
        config: The same, resolved.
        kind: `run`, `test`, `predict`, `vote` or `study`.
        parent: The run or study that this one belongs to.
        data: Summary of the data.
        encoders: Modality to the run that its encoder was taken from.
        higher_is_better: Name of a score to its direction.
        resume: Folder of the run to continue; None for a new one.
        notes: Initial notes of the record.

    Raises:
        RunFailedError: The body failed; the traceback is in the folder.
    """
    runs = roots(PathOptions(**config["paths"]).runs_folder)[0]
    if rank() > 0:
        path = wait_for_run_dir(runs)
        yield Session(path, NullWriter(), path.name)
        return
    trackers = start_trackers(config.get("tracker"))
    alerts = _alerts(composed.name, config.get("alert"))
    folder = (
        RunFolder.open(resume)
        if resume
        else _new(composed, config, kind, parent, data, encoders, higher_is_better, runs, notes)
    )
    publish_run_dir(folder.path, runs)
    start = start_of(folder.record, redact(dict(config)), folder.path, num_steps(folder.metrics))
    with WarningLog(folder.log) as warning_log:
        trackers.start(start)
        writer = RunWriter(MetricsLog(folder.metrics), trackers, alerts)
        session = Session(folder.path, writer, folder.record.run_id, log_warning=warning_log.keep)
        status, error = "failed", None
        try:
            yield session
            status = "finished"
        except (KeyboardInterrupt, RunInterruptedError):
            status = "interrupted"
            raise
        except Exception as failure:
            error = _write_traceback(folder, failure) + memory_advice(failure, config)
            raise RunFailedError(f"{error}\n  the traceback is in {folder.log}") from None
        finally:
            with ExitStack() as cleanup:
                cleanup.callback(clear_run_dir, runs)
                cleanup.callback(writer.close)
                cleanup.callback(alerts.end, status, session.scores, error)
                cleanup.callback(_last_notes, folder, trackers, warning_log)
                cleanup.callback(trackers.finish, status, session.scores)
                folder.update(notes=_notes(folder, session), marks=session.marks)
                folder.finish(status, scores=session.scores, error=error)


def _notes(folder: RunFolder, session: Session) -> dict[str, Any]:
    peak_mb = {"peak_memory_mb": _peak_memory_mb()}
    before = dict(folder.record.notes)
    before.pop("trackers_lack", None)  # of an earlier process
    return {**before, **session.notes, **peak_mb}


def _last_notes(folder: RunFolder, trackers: TrackerGroup, warning_log: WarningLog) -> None:
    """Record what only the end of the trackers shows."""
    missing = trackers.lacking()
    notes: dict[str, Any] = {"trackers_lack": missing} if missing else {}
    notes |= {"warnings": warning_log.count} if warning_log.count else {}
    if notes:
        folder.update(notes={**folder.record.notes, **notes})


@contextmanager
def stage_time(session: Session, stage: str) -> Generator[None]:
    """Add the wall time of a stage, and the peak memory up to its end, to the notes of the run."""
    started = time.monotonic()
    if _gpu_is_used():
        torch.cuda.reset_peak_memory_stats()
    try:
        yield
    finally:
        times = session.notes.setdefault("stage_s", {})
        times[stage] = round(times.get(stage, 0.0) + time.monotonic() - started, 3)
        session.notes.setdefault("stage_peak_memory_mb", {})[stage] = _peak_memory_mb()
        if _gpu_is_used():
            peaks = session.notes.setdefault("stage_peak_gpu_mb", {})
            used_mb = round(torch.cuda.max_memory_allocated() / 1e6, 1)
            peaks[stage] = max(peaks.get(stage, 0.0), used_mb)


def _alerts(name: str, section: Mapping[str, Any] | None) -> Alerts:
    options = dict(section or {})
    channel = instantiate(options.pop("channel"), "alert.channel") if section else NullChannel()
    return Alerts(channel, name, **options)


def _new(
    composed: ComposedConfig,
    config: Mapping[str, Any],
    kind: str,
    parent: str | None,
    data: Mapping[str, Any] | None,
    encoders: Mapping[str, Any] | None,
    higher_is_better: Mapping[str, bool] | None,
    runs: Path,
    notes: Mapping[str, Any] | None,
) -> RunFolder:
    code, difference = code_state(Path.cwd())
    name, chosen = run_name(composed, config, kind, notes or {}, runs)
    record = RunRecord(
        run_id="",
        name=name,
        experiment=composed.name,
        kind=kind,
        parent=parent,
        seed=config.get("seed"),
        command=list(sys.argv),
        host=host(),
        versions=versions(),
        code=code,
        data=dict(data or {}),
        encoders=dict(encoders or {}),
        higher_is_better=dict(higher_is_better or {}),
        notes={**chosen, **(notes or {})},
    )
    folder = RunFolder.create(runs, record)
    folder.write_config(composed.text())
    folder.write_overrides(composed.overrides)
    folder.environment.write_text(environment_text(), encoding="utf-8")
    folder.code_diff.write_text(redact_text(difference), encoding="utf-8")
    return folder


def _write_traceback(folder: RunFolder, failure: Exception) -> str:
    text = redact_text("".join(traceback.format_exception(failure)))
    with folder.log.open("a", encoding="utf-8") as log:
        log.write(text)
    return redact_text(f"{type(failure).__name__}: {failure}")


def _gpu_is_used() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _peak_memory_mb() -> float:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / (1e6 if sys.platform == "darwin" else 1e3), 1)
