"""The cells of a study: what each runs, and whether it has run already."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import OmegaConf

from polymodal.config.compose import ComposedConfig, load_config
from polymodal.experiment.experiment import Experiment
from polymodal.preflight.prepare import prepare_experiment
from polymodal.runs.evaluate import apply_run
from polymodal.runs.trackers import GROUPS
from polymodal.runs.train import run_experiment, vectorized_progress
from polymodal.runs.vectorized.staging import TrainedFolds, train_folds, why_not_vectorized
from polymodal.schemas.run_record import RunRecord
from polymodal.study.members import with_options
from polymodal.tracking.index import find_runs
from polymodal.tracking.run_folder import JOB
from polymodal.training.progress import Display

Check = Callable[[ComposedConfig], dict[str, Any]]
PACKAGE = Path(__file__).parents[1]
# The rooms whose code decides what a cell computes.
HASHED_PACKAGES = (
    *("schemas", "corpora", "data", "encoders", "features", "layers", "models"),
    *("training", "evaluation", "config", "experiment", "runs"),
)
# What changes nothing in a result.
KEY_IGNORED_SECTIONS = ("paths", "tracker", "alert", "resume", "hydra")
KEY_IGNORED_DATA_OPTIONS = ("num_workers", "timeout_s", "cache_mb", "extract_workers")


@dataclass
class StudyJob:
    """One run of a study.

    Args:
        member: The member.
        seed: Its seed.
        share: The share of the training rows.
        composed: Its configuration.
        key: What its result depends on: configuration, data and code.
        applied: The configuration of the corpus that it is applied to; None where it is trained on
            the study's.
        at_once: Whether its seeds may be trained in one process.
        encoders: Modality to the cell whose trained encoder it takes.
        left_out: Fraction of the training speakers that it leaves to a fusion; such a cell is
            trained for its encoder alone, and is not compared.
        run: Folder of its run, once there is one.
        predicted: Folder of the run that applied it.
        status: How its run ended, `missing` or `running`.
        reused: Whether an earlier study had run it.
    """

    member: str
    seed: int
    share: float
    composed: ComposedConfig
    key: str
    applied: Any = None
    at_once: bool = False
    encoders: Mapping[str, "StudyJob"] = field(default_factory=dict)
    left_out: float = 0.0
    run: Path | None = None
    predicted: Path | None = None
    status: str = "missing"
    reused: bool = False
    duration_s: float | None = field(default=None, compare=False)

    @property
    def words(self) -> str:
        """The cell in words."""
        share = f", {self.share:g} of the training rows" if self.share < 1 else ""
        fitted = f", without {self.left_out:.0%} of the speakers" if self.left_out else ""
        return f"{self.member}, seed {self.seed}{share}{fitted}"

    @property
    def run_id(self) -> str:
        """The run, once there is one."""
        assert self.run is not None, f"{self.words} has not run yet"
        return self.run.name

    @property
    def done(self) -> bool:
        """Whether all that it has to do is done."""
        return self.status == "finished" and (self.applied is None or self.predicted is not None)

    def update_from_record(self, known: Mapping[str, tuple[Path, RunRecord]]) -> None:
        """Take over what the run folders say of it.

        Args:
            known: As `recorded` gives it.
        """
        if value := known.get(self.key):
            self.run, self.status = value[0], value[1].status
            self.duration_s = value[1].duration_s
        applied = known.get(self.applied_key)
        if self.applied is not None and applied and applied[1].status == "finished":
            self.predicted = applied[0]

    @property
    def applied_key(self) -> str:
        """The key of the run that applies it to the study's corpus."""
        return short_hash([self.key, self.applied])

    def write(self, folder: Path, study: str) -> Path:
        """Write what the process of the cell needs, for the user's eyes only.

        Args:
            folder: Where to.
            study: The study's run id.
        """
        composed = with_options(
            self.composed,
            {f"encoder.{name}.from_run": cell.run_id for name, cell in self.encoders.items()},
        )
        body = {
            "name": composed.name,
            "config": composed.text(),
            "overrides": composed.overrides,
            "choices": {key: str(composed.choices.get(key) or "") for key in GROUPS},
            "study": study,
            "notes": {
                JOB: self.key,
                "member": self.member,
                "share": self.share,
                **({"left_out": self.left_out} if self.left_out else {}),
            },
            "run": str(self.run) if self.run else None,
            "finished": self.status == "finished",
            "applied": self.applied,
            "applied_key": self.applied_key,
        }
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.key}.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(body), encoding="utf-8")
        return path


def job_key(config: Mapping[str, Any], fingerprint: str, code: str) -> str:
    """Return what names a cell by all that its result depends on."""
    kept = {name: value for name, value in config.items() if name not in KEY_IGNORED_SECTIONS}
    kept["data"] = {k: v for k, v in kept["data"].items() if k not in KEY_IGNORED_DATA_OPTIONS}
    if file := kept["split"].get("file"):  # named by its content
        kept["split"] = {**kept["split"], "file": Path(file).name}
    kept["corpus"] = {k: v for k, v in kept["corpus"].items() if k not in ("root", "prepared")}
    return short_hash([kept, fingerprint, code])


def short_hash(value: Any) -> str:
    """Return a short hash of plain values."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_hash(projects: Sequence[Path]) -> str:
    """Return a hash of the code that decides results: ours, and the project's own.

    Args:
        projects: Folders of the project's packages, or its modules.
    """
    ours = [file for room in HASHED_PACKAGES for file in (PACKAGE / room).rglob("*.py")]
    theirs = [
        file
        for project in projects
        for file in ([project] if project.is_file() else project.rglob("*.py"))
        if "__pycache__" not in file.parts
    ]
    files = sorted({*ours, *theirs})
    sums = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return short_hash(sums)


def finished_jobs(runs: Path) -> dict[str, tuple[Path, RunRecord]]:
    """Find the cells that have been run: of several of one key the finished or newest one."""
    result: dict[str, tuple[Path, RunRecord]] = {}
    for run in reversed(find_runs(runs)[0]):  # the oldest first
        key = run.record.notes.get(JOB)
        if key and (key not in result or result[key][1].status != "finished"):
            result[str(key)] = (run.path, run.record)
    return result


def run_jobs(files: Sequence[Path], check: Check) -> list[str]:
    """Run cells that differ in their seed alone, or what is left of them.

    Args:
        files: As `Cell.write` made them.
        check: Resolves a configuration and refuses what cannot work.

    Returns:
        What came out, in words, one entry a cell; none on other ranks than zero.

    Raises:
        UserError: The configuration or the data cannot be used.
        RunFailedError: A run died.
    """
    works = [JobWorker.read(file, check) for file in files]
    with TemporaryDirectory(dir=files[0].parent) as folder, Display() as display:
        _stage([work for work in works if not work.run], Path(folder), display)
        told = [work.do(check, display) for work in works]
    return [words for words in told if words]


@dataclass
class JobWorker:
    """What the process of a cell has to do."""

    body: Mapping[str, Any]
    composed: ComposedConfig
    config: Mapping[str, Any]
    run: Path | None
    experiment: Experiment | None = None
    staged: TrainedFolds | None = None

    @classmethod
    def read(cls, file: Path, check: Check) -> "JobWorker":
        """Read what a study wrote for this process."""
        body = json.loads(file.read_text(encoding="utf-8"))
        config, words = OmegaConf.create(body["config"]), tuple(body["overrides"])
        composed = ComposedConfig(config, body["choices"], words, body["name"])
        run = Path(body["run"]) if body["run"] else None
        if run and not body["finished"]:
            composed = with_options(composed, {"resume": str(run)})
        return cls(body, composed, check(composed), run)

    def do(self, check: Check, display: Display) -> str:
        """Run it, and applies it if it is to be; what came out, in words."""
        if not self.body["finished"]:
            outcome = run_experiment(
                self.composed,
                self.config,
                display=display,
                parent=self.body["study"],
                notes=self.body["notes"],
                experiment=self.experiment,
                staged=self.staged,
            )
            self.run = outcome[0] if outcome else None
        if self.run is None:
            return ""
        if self.body["applied"] is not None:
            _apply(self.run, self.body, check)
        record = RunRecord.read(self.run / "run.json")
        tests = [
            (k, v) for k, v in record.scores.items() if k.startswith("test/") and v is not None
        ]
        shown = " ".join(f"{name} {value:.3f}" for name, value in tests[:3])
        return f"{shown} in {record.duration_s or 0:.0f} s ({record.run_id})"


def _stage(works: Sequence[JobWorker], folder: Path, display: Display) -> None:
    """Train new cells at once where that is possible."""
    if len(works) < 2:
        return
    first = prepare_experiment(works[0].config)
    first.extract(lambda name, done, total: display.show(f"extract · {name} · {done}/{total}", 0))
    experiments = [replace(first, config=work.config) for work in works]
    if why_not_vectorized(first) is not None:
        return
    staged = train_folds(experiments, folder, vectorized_progress(display))
    for work, experiment, one in zip(works, experiments, staged, strict=True):
        work.experiment, work.staged = experiment, one


def _apply(run: Path, body: Mapping[str, Any], check: Check) -> None:
    """Predict the study's corpus with a model that was trained on its own."""
    stored = load_config(run / "config.yaml", body["name"])
    classes = stored.resolved()["task"]
    changed = with_options(
        stored, {"task": classes, "corpus": body["applied"], "part": "all", "resume": None}
    )
    notes = {**body["notes"], JOB: body["applied_key"]}
    apply_run(run, changed, check(changed), kind="predict", notes=notes)
