"""The folder of a run and of its folds: made exclusively, and the truth about what ran."""

import dataclasses
import json
import math
import re
import secrets
import shutil
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polymodal.errors import CheckpointError, RunError
from polymodal.schemas.run_record import STATUSES, RunRecord
from polymodal.security.files import atomic_write_text
from polymodal.security.paths import resolve_inside
from polymodal.tracking.environment import host
from polymodal.tracking.processes import is_running
from polymodal.tracking.redaction import redact, redact_words, redact_yaml

NUM_TRIES = 100
LAST = "last"  # beside the run folders: the id of the run or study that was trained last
TRAINED = ("run", "study")  # kinds of records that `last` may name
JOB = "cell"  # a note that makes a run part of a study: `last` is then the study
EMBEDDINGS = "embeddings.json"  # modality to what describes the embeddings that a fusion reads
ENCODERS = "encoders"  # folder of a run: what its encoders need beside their weights
FITTED = "fitted.json"  # beside the checkpoints: their training has ended
WEIGHTS = "model.safetensors"  # of a run that was pushed
# What the index and the commands rely on; a secret that happens to read `finished` changes none.
NEVER_REDACTED = ("run_id", "status", "kind", "started", "ended")


@dataclass(frozen=True)
class FoldDir:
    """The folder of one fold: the run's own where there is one fold, `folds/<k>` otherwise."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def predictions(self) -> Path:
        """Folder of the prediction tables, one a split."""
        return self.path / "predictions"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.checkpoints / "last.ckpt"

    @property
    def best_or_last_checkpoint(self) -> Path:
        """The best checkpoint, else the last; the weights of a folder that was pushed.

        Raises:
            CheckpointError: There is none of them.
        """
        paths = [self.checkpoints / "best.ckpt", self.last_checkpoint, self.path / WEIGHTS]
        if self.is_done:
            name = json.loads(self._mark.read_text(encoding="utf-8")).get("best")
            paths = [resolve_inside(self.checkpoints, name), *paths] if name else paths
        for path in paths:
            if path.is_file():
                return path
        raise CheckpointError(
            f"there is no checkpoint in {self.checkpoints}",
            hint="name a run whose training has finished",
        )

    @property
    def is_done(self) -> bool:
        """Whether training has ended here, so that a resumed run leaves it alone."""
        return self._mark.is_file()

    def mark_done(self, epochs: int, best: Path | None = None) -> None:
        """Record that training has ended, after how many epochs and with which best checkpoint.

        Raises:
            CheckpointError: The checkpoint is not in the folder of this fold.
        """
        about: dict[str, Any] = {"epochs": epochs}
        if best is not None:
            folder = self.checkpoints.resolve()
            if not best.resolve().is_relative_to(folder):
                raise CheckpointError(f"the best checkpoint {best} is not below {folder}")
            about["best"] = best.resolve().relative_to(folder).as_posix()
        self._mark.write_text(json.dumps(about), encoding="utf-8")

    @property
    def _mark(self) -> Path:
        return self.checkpoints / FITTED


def fold_dirs(run: Path, num_folds: int) -> list[FoldDir]:
    """Return the folder of each fold of a run."""
    if num_folds == 1:
        return [FoldDir(run)]
    return [FoldDir(run / "folds" / str(index)) for index in range(num_folds)]


def find_fold_dirs(run: Path) -> list[FoldDir]:
    """Return the folders of the folds that a stored run has."""
    folder = run / "folds"
    return fold_dirs(run, len(list(folder.iterdir())) if folder.is_dir() else 1)


class RunFolder:
    """The folder of a run with its record, the content of `run.json`."""

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path, self.record = path, record
        self.config = path / "config.yaml"  # as composed, interpolations unresolved
        self.overrides = path / "overrides.txt"  # one a line
        self.environment = path / "environment.txt"  # installed packages
        self.code_diff = path / "code.diff"  # what was changed but not committed
        self.log = path / "log.txt"  # messages and the traceback
        self.metrics = path / "metrics.jsonl"  # one line a logged step
        self.predictions, self.checkpoints = FoldDir(path).predictions, FoldDir(path).checkpoints
        self.figures = path / "figures"

    @classmethod
    def create(cls, runs: Path, record: RunRecord) -> "RunFolder":
        """Make a new folder, with the record's id and start time set; note it as the last run.

        Only what trains is noted, and no fold or job of a study.

        Raises:
            RunError: The folder cannot be made.
        """
        path = None
        try:
            runs.mkdir(parents=True, exist_ok=True)
            path = _make(runs, f"{datetime.now():%Y%m%d-%H%M%S}-{slug(record.experiment)}")
            now = datetime.now(UTC).isoformat()
            folder = cls(path, dataclasses.replace(record, run_id=path.name, started=now))
            for subfolder in (folder.predictions, folder.checkpoints, folder.figures):
                subfolder.mkdir()
            folder.save()
            if record.kind in TRAINED and record.fold is None and JOB not in record.notes:
                atomic_write_text(runs / LAST, path.name)
        except OSError as error:  # such as a full disk: nothing has started, nothing is left
            if path is not None:
                shutil.rmtree(path, ignore_errors=True)
            raise RunError(
                f"no run folder can be made in {runs}: {error}",
                hint="set paths.runs to a folder that can be written",
            ) from None
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of a run to continue it, with the status `running` again.

        Raises:
            RunError: It holds no valid record, its process on this machine is still running, or it
                cannot be written.
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
        """Change fields of the record and write it."""
        self.record = dataclasses.replace(self.record, **changes)
        self.save()

    def finish(
        self, status: str, *, scores: Mapping[str, float] | None = None, error: str | None = None
    ) -> None:
        """Write how the run ended.

        Args:
            status: One of `STATUSES`.
            scores: Final scores.
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
        """Write the composed configuration, secrets redacted."""
        atomic_write_text(self.config, redact_yaml(text))

    def write_overrides(self, overrides: Sequence[str]) -> None:
        """Write the overrides, one a line, secrets redacted."""
        atomic_write_text(self.overrides, "".join(f"{word}\n" for word in redact_words(overrides)))


def write_record(path: Path, record: RunRecord) -> None:
    """Write a record as JSON, secrets redacted, non-finite numbers as null."""
    values = record.to_dict()
    clean = finite(redact(values)) | {name: values[name] for name in NEVER_REDACTED}
    text = json.dumps(clean, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    atomic_write_text(path, text + "\n")


def slug(name: str) -> str:
    r"""Return a name that is safe in a path: at most 60 letters, digits, `.`, `_` and `-`.

    Example:
        >>> slug("../emodb/egemaps\n")
        'emodb-egemaps'
    """
    safe = re.sub(r"[^\w.-]+|\.\.+", "-", name, flags=re.ASCII).strip("-.")
    return safe[:60].rstrip("-.") or "run"


def finite(value: Any) -> Any:
    """Return plain data with None for numbers that are not finite, which JSON lacks."""
    if isinstance(value, Mapping):
        return {name: finite(nested) for name, nested in value.items()}
    if isinstance(value, list | tuple):
        return [finite(nested) for nested in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _seconds_between(started: str, now: datetime) -> float | None:
    try:
        return round(max(0.0, (now - datetime.fromisoformat(started)).total_seconds()), 3)
    except (TypeError, ValueError):  # another program's record; how the run ended is still written
        return None


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
