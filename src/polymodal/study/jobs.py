"""The jobs of a study: what each runs, and whether it has run already."""

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
# Packages whose code decides the result of a job.
HASHED_PACKAGES = (
    *("schemas", "corpora", "data", "encoders", "features", "layers", "models"),
    *("training", "evaluation", "config", "experiment", "runs"),
)
# Sections and options that do not change a result.
KEY_IGNORED_SECTIONS = ("paths", "tracker", "alert", "resume", "resume_state", "hydra")
KEY_IGNORED_OPTIONS = {
    "data": ("num_workers", "timeout_s", "cache_mb", "extract_workers"),
    "corpus": ("root", "prepared"),
}


@dataclass
class StudyJob:
    """One run of a study."""

    member: str  # name of the member
    seed: int  # seed of the run
    fraction: float  # fraction of the training rows
    composed: ComposedConfig  # configuration of the run
    key: str  # hash of everything the result depends on: configuration, data and code
    # configuration of the corpus that the model is applied to; None for a member that is trained on
    # the study's corpus
    applied: Any = None
    vectorized: bool = False  # whether the seeds may be trained in one process
    # modality to the job whose trained encoder this one takes
    encoders: Mapping[str, "StudyJob"] = field(default_factory=dict)
    # fraction of the training speakers that is left to a fusion; such a job only trains an encoder,
    # and is not compared
    left_out: float = 0.0
    run: Path | None = None  # folder of the run, once it exists
    predicted: Path | None = None  # folder of the run that applied the model
    status: str = "missing"  # how the run ended, `missing` or `running`
    reused: bool = False  # whether an earlier study ran the job
    duration_s: float | None = field(default=None, compare=False)  # duration of the run in seconds

    @property
    def description(self) -> str:
        """The job in words, such as `fusion, seed 0`."""
        fraction = f", {self.fraction:g} of the training rows" if self.fraction < 1 else ""
        fitted = f", without {self.left_out:.0%} of the speakers" if self.left_out else ""
        return f"{self.member}, seed {self.seed}{fraction}{fitted}"

    @property
    def run_id(self) -> str:
        """Id of the run, once it exists."""
        assert self.run is not None, f"{self.description} has not run yet"
        return self.run.name

    @property
    def done(self) -> bool:
        """Whether the job is trained and, if requested, applied."""
        return self.status == "finished" and (self.applied is None or self.predicted is not None)

    def update_from_record(self, finished: Mapping[str, tuple[Path, RunRecord]]) -> None:
        """Update run and status from the result of `finished_jobs`."""
        if value := finished.get(self.key):
            self.run, self.status = value[0], value[1].status
            self.duration_s = value[1].duration_s
        applied = finished.get(self.applied_key)
        if self.applied is not None and applied and applied[1].status == "finished":
            self.predicted = applied[0]

    @property
    def applied_key(self) -> str:
        """Key of the run that applies the model to the study's corpus."""
        return short_hash([self.key, self.applied])

    def write(self, folder: Path, study: str) -> Path:
        """Write the input of the job's process, readable by its owner only; `study` is a run id."""
        sources = {f"encoder.{name}.from_run": job.run_id for name, job in self.encoders.items()}
        composed = with_options(self.composed, sources)
        body = {
            "name": composed.name,
            "config": composed.text(),
            "overrides": composed.overrides,
            "choices": {key: str(composed.choices.get(key) or "") for key in GROUPS},
            "study": study,
            "notes": {
                JOB: self.key,
                "member": self.member,
                "share": self.fraction,
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
    """Return a hash of everything that the result of a job depends on."""
    sections = {name: value for name, value in config.items() if name not in KEY_IGNORED_SECTIONS}
    for name, ignored in KEY_IGNORED_OPTIONS.items():
        options = sections[name].items()
        sections[name] = {key: value for key, value in options if key not in ignored}
    if file := sections["split"].get("file"):  # named by its content
        sections["split"] = {**sections["split"], "file": Path(file).name}
    return short_hash([sections, fingerprint, code])


def short_hash(value: Any) -> str:
    """Return a short hash of plain values."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_hash(projects: Sequence[Path]) -> str:
    """Return a hash of the code that decides results: this package's and the project's.

    `projects` are folders of the project's packages, or its modules.
    """
    ours = [file for package in HASHED_PACKAGES for file in (PACKAGE / package).rglob("*.py")]
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
    """Return key to run of the jobs that have run: the finished or else the newest run."""
    result: dict[str, tuple[Path, RunRecord]] = {}
    for run in reversed(find_runs(runs)[0]):  # the oldest first
        key = run.record.notes.get(JOB)
        if key and (key not in result or result[key][1].status != "finished"):
            result[str(key)] = (run.path, run.record)
    return result


def run_jobs(files: Sequence[Path], check: Check) -> list[str]:
    """Run or continue jobs that differ in their seed only, from the files of `StudyJob.write`.

    Returns:
        One message per job with its test scores; none on ranks other than zero.

    Raises:
        UserError: The configuration or the data cannot be used.
        RunFailedError: A run failed.
    """
    workers = [JobWorker.read(file, check) for file in files]
    with TemporaryDirectory(dir=files[0].parent) as folder, Display() as display:
        _stage([worker for worker in workers if not worker.run], Path(folder), display)
        messages = [worker.execute(check, display) for worker in workers]
    return [message for message in messages if message]


@dataclass
class JobWorker:
    """Run one job in this process."""

    body: Mapping[str, Any]
    composed: ComposedConfig
    config: Mapping[str, Any]
    run: Path | None
    experiment: Experiment | None = None
    staged: TrainedFolds | None = None

    @classmethod
    def read(cls, file: Path, check: Check) -> "JobWorker":
        """Read a file of `StudyJob.write`."""
        body = json.loads(file.read_text(encoding="utf-8"))
        config, overrides = OmegaConf.create(body["config"]), tuple(body["overrides"])
        composed = ComposedConfig(config, body["choices"], overrides, body["name"])
        run = Path(body["run"]) if body["run"] else None
        if run and not body["finished"]:
            composed = with_options(composed, {"resume": str(run)})
        return cls(body, composed, check(composed), run)

    def execute(self, check: Check, display: Display) -> str:
        """Train the member, apply it if requested, and return a message with its test scores."""
        if not self.body["finished"]:
            result = run_experiment(
                self.composed,
                self.config,
                display=display,
                parent=self.body["study"],
                notes=self.body["notes"],
                experiment=self.experiment,
                staged=self.staged,
            )
            self.run = result.path if result else None
        if self.run is None:
            return ""
        if self.body["applied"] is not None:
            _apply(self.run, self.body, check)
        record = RunRecord.read(self.run / "run.json")
        scores = [(name, score) for name, score in record.scores.items() if score is not None]
        tests = [f"{name} {score:.3f}" for name, score in scores if name.startswith("test/")]
        shown = " ".join(tests[:3])
        return f"{shown} in {record.duration_s or 0:.0f} s ({record.run_id})"


def _stage(workers: Sequence[JobWorker], folder: Path, display: Display) -> None:
    """Train new jobs in one vectorized pass if possible."""
    if len(workers) < 2:
        return
    first = prepare_experiment(workers[0].config)
    first.extract(
        lambda name, done, total: display.show("extract", f"{name} · {done}/{total}", done / total)
    )
    experiments = [replace(first, config=worker.config) for worker in workers]
    if why_not_vectorized(first) is not None:
        return
    staged = train_folds(experiments, folder, vectorized_progress(display))
    for worker, experiment, folds in zip(workers, experiments, staged, strict=True):
        worker.experiment, worker.staged = experiment, folds


def _apply(run: Path, body: Mapping[str, Any], check: Check) -> None:
    """Predict the study's corpus with a model that was trained on another."""
    stored = load_config(run / "config.yaml", body["name"])
    options = {"task": stored.resolved()["task"], "corpus": body["applied"]}
    changed = with_options(stored, {**options, "evaluate_on": "all", "resume": None})
    notes = {**body["notes"], JOB: body["applied_key"]}
    apply_run(run, changed, check(changed), kind="predict", notes=notes)
