"""MLflow: a server, or a database beside the run folders."""

import logging
import math
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polymodal.errors import MissingExtraError
from polymodal.tracking.redaction import redact_text
from polymodal.tracking.trackers.base import Start
from polymodal.tracking.trackers.payload import flat, plain_name, tables

FOLDER = ".mlflow"
RUN_ID, LINES = "polymodal.run_id", "polymodal.lines"
ENDS = {"finished": "FINISHED", "failed": "FAILED"}
MOST_PARAMS, MOST_METRICS, LONGEST_NAME, LONGEST_VALUE = 100, 1000, 250, 6000
# Their clients try for minutes, by default; sync delivers what a server has missed.
PATIENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class MlflowTracker:
    """Copy a run to MLflow, one of their runs for each of ours.

    A tag with our run's id identifies it; another says how many lines of the metrics log it has, so
    that none is sent twice.

    Args:
        uri: A server such as `http://host:5000`, or `sqlite:///FILE`; None for a database in
            `.mlflow` below the folder of runs.
        prediction_tables: Whether to upload prediction tables (ids, labels and outputs) and
            confusion matrices.
    """

    remote = True

    def __init__(self, uri: str | None = None, prediction_tables: bool = True) -> None:
        self.uri, self.prediction_tables = uri, prediction_tables
        self.place = redact_text(f"mlflow {uri or ''}").strip()
        self.client: Any = None
        self.ready: list[tuple[list[Any], int]] = []

    def start(self, start: Start) -> int | None:
        """Start or resume a run, and return how many lines of the metrics log MLflow has.

        Raises:
            MissingExtraError: mlflow-skinny is not installed.
        """
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow.entities import Metric, Param, RunTag
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise MissingExtraError("mlflow", "mlflow") from None
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table it makes
        self.of: dict[str, Any] = {"metric": Metric, "param": Param, "tag": RunTag}
        database = start.folder.parent.resolve() / FOLDER
        uri = self.uri or f"sqlite:///{database / 'mlflow.db'}"
        with _alone(database, uri):
            self.client = MlflowClient(tracking_uri=uri)
            artifacts = None if "://" in (self.uri or "") else (database / "artifacts").as_uri()
            self.experiment = self._experiment(start.project, artifacts)
        self.folder, self.last_step = start.folder, 0
        self.number = self._go_on(start)
        return self.number

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Gather the scores of one step."""
        now_ms, metric = int(1000 * time.time()), self.of["metric"]
        metrics = [
            metric(plain_name(name, LONGEST_NAME), value, now_ms, step)
            for name, value in scores.items()
            if not math.isinf(value)
        ]
        self.number, self.last_step = self.number + 1, step
        self.ready.append((metrics, self.number))

    def flush(self) -> None:
        """Send what has gathered, as many lines at a time as a request may hold."""
        for metrics, number in _batches(self.ready):
            tags = [self.of["tag"](LINES, str(number))] if number is not None else []
            self.client.log_batch(self.id, metrics, tags=tags, synchronous=True)
        self.ready = []

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """End the run."""
        if self.client is None or not hasattr(self, "id"):
            return
        number = self.number
        self.log(scores, self.last_step)
        self.ready[-1] = (self.ready[-1][0], number)  # not a line of the metrics log
        self.flush()
        client, self.client = self.client, None
        if self.prediction_tables:
            with tables(self.folder) as files:
                for file in files:
                    client.log_artifact(self.id, str(file), "tables")
        client.set_terminated(self.id, ENDS.get(status, "KILLED"))

    def _experiment(self, project: str, artifacts: str | None) -> str:
        """Return the id of the project, which the first process creates."""
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(project)
        if experiment is None:
            try:
                return str(self.client.create_experiment(project, artifact_location=artifacts))
            except MlflowException:  # another process was faster
                if (experiment := self.client.get_experiment_by_name(project)) is None:
                    raise
        return str(experiment.experiment_id)

    def _go_on(self, start: Start) -> int:
        """Find or create the run; return how many lines it has."""
        result = self.client.search_runs([self.experiment], f"tags.`{RUN_ID}` = '{start.run_id}'")
        if result:
            self.id = result[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
            return int(result[0].data.tags.get(LINES, 0))
        tags = {RUN_ID: start.run_id, "group": start.group, "kind": start.kind}
        tags |= {"tags": ", ".join(start.tags)} if start.tags else {}
        self.id = self.client.create_run(
            self.experiment, run_name=start.title, tags=tags
        ).info.run_id
        params = [
            self.of["param"](plain_name(name, LONGEST_NAME), str(value)[:LONGEST_VALUE])
            for name, value in flat(start.config).items()
        ]
        for first in range(0, len(params), MOST_PARAMS):
            batch = params[first : first + MOST_PARAMS]
            self.client.log_batch(self.id, params=batch, synchronous=True)
        return 0


def _batches(lines: Sequence[tuple[list[Any], int]]) -> Iterator[tuple[list[Any], int | None]]:
    """Yield the lines that fit into a request, with the number of the last; split long ones."""
    batch: list[Any] = []
    last: int | None = None
    for metrics, number in lines:
        if batch and len(batch) + len(metrics) > MOST_METRICS:
            yield batch, last
            batch = []
        while len(metrics) > MOST_METRICS:
            yield metrics[:MOST_METRICS], None
            metrics = metrics[MOST_METRICS:]
        batch, last = batch + metrics, number
    if last is not None:
        yield batch, last


@contextmanager
def _alone(folder: Path, uri: str) -> Generator[None]:
    """Let one process at a time open a database: creating tables in several at once fails."""
    if not uri.startswith("sqlite:"):
        yield
        return
    import filelock

    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / "lock"):
        yield
