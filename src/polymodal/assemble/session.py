"""A recorded run: its folder, its writer, and how it ends, whatever happens inside."""

import resource
import sys
import time
import traceback
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.assemble.build import build
from polymodal.assemble.compose import Composed
from polymodal.assemble.memory import memory_advice
from polymodal.assemble.ranks import announce, announced, rank, retract
from polymodal.contracts.run import RunRecord
from polymodal.errors import RunFailedError, StoppedError
from polymodal.record.alerts import Alerts, Nobody
from polymodal.record.environment import code_state, environment_text, host, versions
from polymodal.record.folder import RunFolder
from polymodal.record.index import roots
from polymodal.record.journal import Journal
from polymodal.record.redaction import redact, redact_text
from polymodal.record.trackers.base import Start
from polymodal.record.trackers.mirror import Mirror
from polymodal.record.writer import NullWriter, RunWriter


@dataclass
class Session:
    """One run while it goes on.

    Args:
        path: The run folder; on every rank the same.
        writer: Where logged scores go; only rank zero's goes anywhere.
        run_id: Name of the run.
        scores: What the run ends with.
        notes: Facts for the record.
    """

    path: Path
    writer: RunWriter | NullWriter
    run_id: str
    scores: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


@contextmanager
def recording(
    composed: Composed,
    config: Mapping[str, Any],
    *,
    kind: str = "run",
    parent: str | None = None,
    data: Mapping[str, Any] | None = None,
    resume: Path | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Generator[Session]:
    """Makes the run folder, and sees to it that the run ends with a status.

    Args:
        composed: The configuration, for the record.
        config: The same, resolved.
        kind: `run`, `test`, `predict`, `vote` or `study`.
        parent: The run or study that this one comes from.
        data: Facts about the data.
        resume: Folder of the run to go on with; None for a new one.
        notes: Facts for the record that are known from the start.

    Yields:
        The session.

    Raises:
        RunFailedError: The body failed; the traceback is in the folder.
    """
    runs = roots(Path(config["paths"]["runs"]))[0]
    if rank() > 0:
        path = announced(runs)
        yield Session(path, NullWriter(), path.name)
        return
    mirror = Mirror(build(config["tracker"], "tracker"))
    alerts = _alerts(composed.name, config.get("alert"))
    folder = (
        RunFolder.open(resume)
        if resume
        else _new(composed, config, kind, parent, data, runs, notes)
    )
    announce(folder.path, runs)
    _start(mirror, folder, composed, config)
    writer = RunWriter(Journal(folder.metrics), mirror, alerts)
    session = Session(folder.path, writer, folder.record.run_id)
    status, error = "failed", None
    try:
        yield session
        status = "finished"
    except (KeyboardInterrupt, StoppedError):
        status = "interrupted"
        raise
    except Exception as failure:
        error = _write_traceback(folder, failure) + memory_advice(failure, config)
        raise RunFailedError(f"{error}\n  the traceback is in {folder.log}") from None
    finally:
        with ExitStack() as whatever_happens:
            whatever_happens.callback(retract, runs)
            whatever_happens.callback(writer.close)
            whatever_happens.callback(alerts.end, status, session.scores, error)
            whatever_happens.callback(mirror.finish, status, session.scores)
            notes = {**folder.record.notes, **session.notes, "peak_memory_mb": _peak_memory_mb()}
            folder.update(notes=notes)
            folder.finish(status, scores=session.scores, error=error)


@contextmanager
def stage_time(session: Session, stage: str) -> Generator[None]:
    """Adds the wall time of a stage to the notes of the run.

    Args:
        session: The run.
        stage: Name of the stage.
    """
    started = time.monotonic()
    try:
        yield
    finally:
        times = session.notes.setdefault("stage_s", {})
        times[stage] = round(times.get(stage, 0.0) + time.monotonic() - started, 3)


def _alerts(name: str, section: Mapping[str, Any] | None) -> Alerts:
    options = dict(section or {})
    channel = build(options.pop("channel"), "alert.channel") if section else Nobody()
    return Alerts(channel, name, **options)


def _new(
    composed: Composed,
    config: Mapping[str, Any],
    kind: str,
    parent: str | None,
    data: Mapping[str, Any] | None,
    runs: Path,
    notes: Mapping[str, Any] | None,
) -> RunFolder:
    code, difference = code_state(Path.cwd())
    record = RunRecord(
        run_id="",
        name=composed.name,
        experiment=composed.name,
        kind=kind,
        parent=parent,
        seed=config.get("seed"),
        command=list(sys.argv),
        host=host(),
        versions=versions(),
        code=code,
        data=dict(data or {}),
        notes=dict(notes or {}),
    )
    folder = RunFolder.create(runs, record)
    folder.write_config(composed.text())
    folder.write_overrides(composed.overrides)
    folder.environment.write_text(environment_text(), encoding="utf-8")
    folder.code_diff.write_text(redact_text(difference), encoding="utf-8")
    return folder


def _start(
    mirror: Mirror, folder: RunFolder, composed: Composed, config: Mapping[str, Any]
) -> None:
    project = composed.name.partition("/")[0]
    mirror.start(
        Start(folder.record.run_id, project, composed.name, redact(dict(config)), folder.path)
    )


def _write_traceback(folder: RunFolder, failure: Exception) -> str:
    text = redact_text("".join(traceback.format_exception(failure)))
    with folder.log.open("a", encoding="utf-8") as log:
        log.write(text)
    return redact_text(f"{type(failure).__name__}: {failure}")


def _peak_memory_mb() -> float:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / (1e6 if sys.platform == "darwin" else 1e3), 1)
