"""The record of one run: what ran and how it ended."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

from polymodal.errors import RunError

RECORD_VERSION = 1
STATUSES = ("running", "finished", "failed", "interrupted", "killed")
TYPES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("run_id", "name", "status", "experiment", "kind", "started"), str),
    **dict.fromkeys(
        ("scores", "higher_is_better", "host", "versions", "code", "data", "encoders", "notes"),
        dict,
    ),
    "command": list,
    "marks": list,
    "duration_s": (int, float, type(None)),
    "record_version": int,
    **dict.fromkeys(("seed", "fold"), (int, type(None))),
    **dict.fromkeys(("parent", "ended", "error"), (str, type(None))),
}
SPLITS = ("train", "val", "test", "predict")  # that the text of an early mark may name
REMEDY = "is this the folder of a run?"


class Mark(TypedDict):
    """Why the scores of a split say less than their name, such as a part of its rows."""

    split: str
    text: str


@dataclass
class RunRecord:
    """The content of `run.json`.

    Args:
        run_id: Name of the run and of its folder.
        name: Short name for people.
        status: One of `STATUSES`.
        experiment: The experiment's name, or `run`.
        kind: `run`, `test`, `predict`, `vote` or `study`.
        parent: The run or study that this one comes from, or None.
        seed: Seed of the random numbers.
        fold: Number of the fold, or None for the whole run.
        scores: `<split>/<score>` to its value.
        higher_is_better: Name of each score, without the split, to its direction.
        started: UTC time, ISO 8601.
        ended: UTC time, or None while it runs.
        duration_s: Wall time of the run in seconds.
        command: The command line as a list.
        host: Name of the machine and process id.
        versions: Package to version.
        code: Commit, whether files were changed, hash of the difference.
        data: Fingerprint of the manifest, rows, classes, rejected rows.
        encoders: Modality to the run that its encoder was taken from: run, digests, mode.
        marks: Why the scores of a split say less than their name.
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
    higher_is_better: dict[str, bool] = field(default_factory=dict)
    started: str = ""
    ended: str | None = None
    duration_s: float | None = None
    command: list[str] = field(default_factory=list)
    host: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    encoders: dict[str, Any] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    record_version: int = RECORD_VERSION

    def is_marked(self, score: str) -> bool:
        """Return whether a mark is on a score, `<split>/<name>`; so it is on those of its subsets.

        Example:
            >>> run = RunRecord("a", "a", marks=[{"split": "test", "text": "partial"}])
            >>> run.is_marked("test@speech/uar"), run.is_marked("val/uar")
            (True, False)
        """
        split = score.partition("/")[0].partition("@")[0]
        return any(mark["split"] == split for mark in self.marks)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "RunRecord":
        """Build a record from JSON, ignoring keys that it does not know.

        Args:
            values: The parsed JSON.

        Returns:
            The record.

        Raises:
            RunError: It is not a mapping, `run_id` is missing, a value has another type, or a later
                version of this program wrote it.
        """
        _check(values)
        names = {field.name for field in fields(cls)}
        fields_here = {key: value for key, value in values.items() if key in names}
        fields_here["marks"] = [_mark(mark) for mark in values.get("marks", ())]
        return cls(**{"name": values["run_id"], **fields_here})

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Read `run.json`.

        Args:
            path: The file.

        Returns:
            The record.

        Raises:
            RunError: The file is missing, no JSON, or not the record of a run.
        """
        try:
            text = path.read_text(encoding="utf-8")
            # NaN and Infinity are not JSON, yet some programs write them.
            values = json.loads(text, parse_constant=lambda name: None)
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path} cannot be read: {error}") from None
        try:
            return cls.from_dict(values)
        except RunError as error:
            raise RunError(f"{path}: {error.message}", hint=error.hint) from None


def fold_marks(run: RunRecord, folds: Iterable[RunRecord]) -> list[str]:
    """Return the marks of folds that are not marks of the whole run, each once.

    Example:
        >>> fold = RunRecord("a/folds/1", "b", fold=1, marks=[{"split": "test", "text": "partial"}])
        >>> fold_marks(RunRecord("a", "a"), [fold])
        ['fold 1: partial']
    """
    numbers: dict[str, list[str]] = {}
    for fold in folds:
        for mark in fold.marks:
            if mark not in run.marks:
                numbers.setdefault(mark["text"], []).append(str(fold.fold))
    return [
        f"fold{'s' * (len(names) > 1)} {', '.join(names)}: {text}"
        for text, names in numbers.items()
    ]


def score_direction(score: str, records: Iterable[RunRecord]) -> bool | None:
    """Return whether a higher score is better, as the records say.

    Args:
        score: `<split>/<score>`, or the name without the split.
        records: Runs that may have it.

    Returns:
        None where no record knows, as in runs of early versions.

    Raises:
        RunError: The records contradict one another.

    Example:
        >>> run = RunRecord("a", "a", higher_is_better={"uar": True, "ece": False})
        >>> score_direction("test/ece", [run]), score_direction("test/f1", [run])
        (False, None)
    """
    name = score.rpartition("/")[2]
    directions = {
        record.higher_is_better[name] for record in records if name in record.higher_is_better
    }
    if len(directions) > 1:
        raise RunError(
            f"{score}: higher is better in some of these runs, lower in others",
            hint="choose runs whose score of that name is the same",
        )
    return next(iter(directions), None)


def _mark(mark: Any) -> Mark:
    """Read a mark; those of early records are a text that names the split."""
    if isinstance(mark, dict):
        return {"split": str(mark.get("split")), "text": str(mark.get("text"))}
    split = next((split for split in SPLITS if split in str(mark).split()), "")
    return {"split": split, "text": str(mark)}


def _check(values: Any) -> None:
    """Raises RunError unless a record can be built from the values."""
    if not isinstance(values, dict) or "run_id" not in values:
        raise RunError("the record has no run_id", hint=REMEDY)
    for name, types in TYPES.items():
        if name in values and not isinstance(values[name], types):
            raise RunError(f"{name} is {values[name]!r}", hint=REMEDY)
    for name, score in values.get("scores", {}).items():
        if not isinstance(score, int | float | None):
            raise RunError(f"score {name} is {score!r}", hint=REMEDY)
    version = values.get("record_version", RECORD_VERSION)
    if version > RECORD_VERSION:
        raise RunError(
            f"the record has version {version}, this program knows {RECORD_VERSION}",
            hint="update polymodal",
        )
