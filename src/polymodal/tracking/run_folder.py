"""The folder of one run: made exclusively, and the truth about what ran."""

import dataclasses
import json
import math
import re
import secrets
import shutil
import string
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polymodal.errors import RunError
from polymodal.schemas.run_record import STATUSES, RunRecord
from polymodal.security.files import atomic_write_text
from polymodal.tracking.environment import host
from polymodal.tracking.processes import is_running
from polymodal.tracking.redaction import redact, redact_words, redact_yaml

NUM_TRIES = 100
LAST = "last"  # beside the run folders: the id of the run that the last command made
JOB = "cell"  # a note that makes a run part of a study: `last` is then the study
EMBEDDINGS = "embeddings.json"  # modality to what describes the embeddings that a fusion reads
ENCODERS = "encoders"  # folder of a run: what its encoders need beside their weights
# What the index and the commands rely on; a secret that happens to read `finished` changes none.
NEVER_REDACTED = ("run_id", "status", "kind", "started", "ended")


class RunFolder:
    """One run's folder and record.

    Args:
        path: The folder.
        record: What its `run.json` holds.
    """

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path, self.record = path, record

    @classmethod
    def create(cls, runs: Path, record: RunRecord) -> "RunFolder":
        """Make a folder that no other run has; unless it is a study's, it is noted as the last.

        Args:
            runs: The folder of all runs; made if it is missing.
            record: The record; its id and its start are set here.

        Raises:
            RunError: The folder cannot be made.
        """
        try:
            runs.mkdir(parents=True, exist_ok=True)
            path = _make(runs, f"{datetime.now():%Y%m%d-%H%M%S}-{slug(record.experiment)}")
        except OSError as error:
            raise _unwritable(runs, error) from None
        now = datetime.now(UTC).isoformat()
        folder = cls(path, dataclasses.replace(record, run_id=path.name, started=now))
        try:
            for part in (folder.predictions, folder.checkpoints, folder.figures):
                part.mkdir()
            folder.save()
            if record.fold is None and JOB not in record.notes:
                atomic_write_text(runs / LAST, path.name)
        except OSError as error:  # such as a full disk: nothing has started, nothing is left
            shutil.rmtree(path, ignore_errors=True)
            raise _unwritable(runs, error) from None
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of a run to go on with it.

        Returns:
            The folder, its status `running` again.

        Raises:
            RunError: There is no sound record in it, its process on this machine still goes on,
                or it cannot be written.
        """
        record = RunRecord.read(path / "run.json")
        if record.status == "running" and is_running(record.host):
            raise RunError(
                f"{path} is still being written by process {record.host['pid']}",
                hint="wait for it or end it first",
            )
        folder = cls(path, record)
        try:
            folder.update(status="running", ended=None, error=None, host=host())
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error}") from None
        return folder

    def save(self) -> None:
        """Write `run.json`."""
        write_record(self.path / "run.json", self.record)

    def update(self, **changes: Any) -> None:
        """Change fields of the record and writes it."""
        self.record = dataclasses.replace(self.record, **changes)
        self.save()

    def finish(
        self, status: str, *, scores: Mapping[str, float] | None = None, error: str | None = None
    ) -> None:
        """Write how the run ended.

        Args:
            status: One of `STATUSES`.
            scores: The scores it ended with.
            error: Last line of the traceback of a failed run.
        """
        assert status in STATUSES, status
        now = datetime.now(UTC)
        self.update(
            status=status,
            scores={**self.record.scores, **(scores or {})},
            error=error,
            ended=now.isoformat(),
            duration_s=_seconds_between(self.record.started, now),
        )

    def write_config(self, text: str) -> None:
        """Write the composed configuration, secrets redacted.

        Args:
            text: YAML, interpolations of the environment unresolved.
        """
        atomic_write_text(self.config, redact_yaml(text))

    def write_overrides(self, overrides: Sequence[str]) -> None:
        """Write what was overridden, one a line, secrets redacted."""
        atomic_write_text(self.overrides, "".join(f"{word}\n" for word in redact_words(overrides)))

    def fold(self, index: int) -> Path:
        """Return the folder of one fold.

        Args:
            index: Number of the fold, from 0.
        """
        return self.folds / str(index)

    @property
    def config(self) -> Path:
        """The composed configuration."""
        return self.path / "config.yaml"

    @property
    def overrides(self) -> Path:
        """What was overridden, one a line."""
        return self.path / "overrides.txt"

    @property
    def environment(self) -> Path:
        """Installed packages."""
        return self.path / "environment.txt"

    @property
    def code_diff(self) -> Path:
        """What was changed but not committed."""
        return self.path / "code.diff"

    @property
    def log(self) -> Path:
        """Messages and the traceback."""
        return self.path / "log.txt"

    @property
    def metrics(self) -> Path:
        """One line a logged step."""
        return self.path / "metrics.jsonl"

    @property
    def predictions(self) -> Path:
        """Prediction tables, one a part of the corpus."""
        return self.path / "predictions"

    @property
    def checkpoints(self) -> Path:
        """The last and the best checkpoint."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """Plots."""
        return self.path / "figures"

    @property
    def folds(self) -> Path:
        """The folds of a split that has several."""
        return self.path / "folds"


def write_record(path: Path, record: RunRecord) -> None:
    """Write a record as JSON, secrets redacted, what is no finite number as null."""
    values = record.to_dict()
    clean = _finite(redact(values)) | {name: values[name] for name in NEVER_REDACTED}
    text = json.dumps(clean, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    atomic_write_text(path, text + "\n")


def slug(name: str) -> str:
    r"""Returns a name that is safe as part of a folder's name.

    Returns:
        Letters, digits, `.`, `_` and `-`, at most 60.

    Example:
        >>> slug("../emodb/egemaps\n")
        'emodb-egemaps'
    """
    safe = re.sub(r"[^\w.-]+|\.\.+", "-", name, flags=re.ASCII).strip("-.")
    return safe[:60].rstrip("-.") or "run"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(nested) for name, nested in value.items()}
    if isinstance(value, list):
        return [_finite(nested) for nested in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _seconds_between(started: str, now: datetime) -> float | None:
    try:
        return round(max(0.0, (now - datetime.fromisoformat(started)).total_seconds()), 3)
    except (TypeError, ValueError):  # another program's record; how the run ended is still written
        return None


def _unwritable(runs: Path, error: OSError) -> RunError:
    return RunError(
        f"no run folder can be made in {runs}: {error}",
        hint="set paths.runs to a folder that can be written",
    )


def _make(runs: Path, stem: str) -> Path:
    for _ in range(NUM_TRIES):
        letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
        path = runs / f"{stem}-{letters}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{NUM_TRIES} names like {stem} are taken")
