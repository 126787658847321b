"""The folder of one run: made exclusively, and the truth about what ran."""

import dataclasses
import json
import re
import secrets
import string
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polymodal.contracts.run import RunRecord
from polymodal.errors import RunError
from polymodal.record.environment import host
from polymodal.record.files import write_whole
from polymodal.record.redaction import redact, redact_text

NUM_TRIES = 100
LAST = "last"


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
        """Makes a folder that no other run has, and notes it as the last one.

        Args:
            runs: The folder of all runs; made if it is missing.
            record: The record; its id and its start are set here.

        Returns:
            The folder.

        Raises:
            RunError: The folder cannot be made.
        """
        now = datetime.now(UTC)
        try:
            runs.mkdir(parents=True, exist_ok=True)
            path = _make(runs, f"{datetime.now():%Y%m%d-%H%M%S}-{slug(record.experiment)}")
        except OSError as error:
            raise RunError(
                f"no run folder can be made in {runs}: {error}",
                remedy="set paths.runs to a folder that can be written",
            ) from None
        for name in ("predictions", "checkpoints", "figures"):
            (path / name).mkdir()
        folder = cls(path, dataclasses.replace(record, run_id=path.name, started=now.isoformat()))
        folder.save()
        write_whole(runs / LAST, path.name)
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Opens the folder of a run to go on with it.

        Args:
            path: The folder.

        Returns:
            The folder, its status `running` again.

        Raises:
            RunError: There is no record in it.
        """
        folder = cls(path, RunRecord.read(path / "run.json"))
        folder.update(status="running", ended=None, error=None, host=host())
        return folder

    def save(self) -> None:
        """Writes `run.json`."""
        write_record(self.path / "run.json", self.record)

    def update(self, **changes: Any) -> None:
        """Changes fields of the record and writes it.

        Args:
            changes: Field to value.
        """
        self.record = dataclasses.replace(self.record, **changes)
        self.save()

    def finish(
        self, status: str, *, scores: Mapping[str, float] | None = None, error: str | None = None
    ) -> None:
        """Writes how the run ended.

        Args:
            status: One of `STATUSES`.
            scores: The scores it ended with.
            error: Last line of the traceback of a failed run.
        """
        now = datetime.now(UTC)
        duration_s = (now - datetime.fromisoformat(self.record.started)).total_seconds()
        self.update(
            status=status,
            scores={**self.record.scores, **(scores or {})},
            error=error,
            ended=now.isoformat(),
            duration_s=round(duration_s, 3),
        )

    def write_config(self, text: str) -> None:
        """Writes the composed configuration, secrets redacted.

        Args:
            text: YAML, interpolations of the environment unresolved.
        """
        write_whole(self.path / "config.yaml", redact_text(text))

    def write_overrides(self, overrides: Sequence[str]) -> None:
        """Writes what was overridden, one a line, secrets redacted.

        Args:
            overrides: Words of the command line.
        """
        write_whole(self.path / "overrides.txt", "".join(f"{redact_text(o)}\n" for o in overrides))

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


def write_record(path: Path, record: RunRecord) -> None:
    """Writes a record as JSON, secrets redacted, scores that are no number as null.

    Args:
        path: The file.
        record: The record.
    """
    values = redact(record.to_dict())
    values["scores"] = {k: v if v == v else None for k, v in values["scores"].items()}
    write_whole(path, json.dumps(values, indent=1, ensure_ascii=False, default=str) + "\n")


def slug(name: str) -> str:
    """Returns a name that is safe as part of a folder's name.

    Args:
        name: Any text.

    Returns:
        Letters, digits, `.`, `_` and `-`, at most 60.

    Example:
        >>> slug("../emodb/egemaps\\n")
        'emodb-egemaps'
    """
    return re.sub(r"[^\w.-]+|\.\.+", "-", name, flags=re.ASCII).strip("-.")[:60] or "run"


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
