"""The record of one run: what ran and how it ended."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from polymodal.errors import RunError

RECORD_VERSION = 1
STATUSES = ("running", "finished", "failed", "interrupted", "killed")


@dataclass
class RunRecord:
    """What stands in `run.json`.

    Args:
        run_id: Name of the run and of its folder.
        name: Short name for people.
        status: One of `STATUSES`.
        experiment: The experiment's name, or `run`.
        kind: `run`, `test`, `predict` or `vote`.
        parent: The run that this one comes from, or None.
        seed: Seed of the random numbers.
        fold: Number of the fold, or None for the whole run.
        scores: `<split>/<score>` to its value.
        started: UTC time, ISO 8601.
        ended: UTC time, or None while it runs.
        duration_s: Wall time of the run in seconds.
        command: The command line as a list.
        host: Name of the machine and process id.
        versions: Package to version.
        code: Commit, whether files were changed, hash of the difference.
        data: Fingerprint of the manifest, rows, classes, refused rows.
        notes: Further facts, such as `transductive` or the padding share.
        error: Last line of the traceback of a failed run.
        record_version: Version of this layout.
    """

    run_id: str
    name: str
    status: str = "running"
    experiment: str = "run"
    kind: str = "run"
    parent: str | None = None
    seed: int | None = None
    fold: int | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    started: str = ""
    ended: str | None = None
    duration_s: float | None = None
    command: list[str] = field(default_factory=list)
    host: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    record_version: int = RECORD_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Returns the record as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunRecord":
        """Builds a record from JSON, ignoring keys of later versions.

        Args:
            values: The parsed JSON.

        Returns:
            The record.

        Raises:
            RunError: `run_id` is missing.
        """
        known = {one.name for one in fields(cls)}
        if "run_id" not in values:
            raise RunError("run.json has no run_id", remedy="is this the folder of a run?")
        return cls(**{"name": values["run_id"], **{k: v for k, v in values.items() if k in known}})

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Reads `run.json`.

        Args:
            path: The file.

        Returns:
            The record.

        Raises:
            RunError: The file is missing or no JSON.
        """
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {error}") from None
