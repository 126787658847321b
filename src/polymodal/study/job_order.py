"""The jobs of a study in the order of their dependencies: encoders first, then fusion."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from polymodal.config.compose import ComposedConfig
from polymodal.data.folds import Fold, write_folds
from polymodal.data.held_out import hold_out
from polymodal.experiment.experiment import Experiment
from polymodal.preflight.prepare import prepare_experiment
from polymodal.runs.vectorized.staging import is_small_head
from polymodal.security.files import sha256_of
from polymodal.study.config import Member, StudyConfig
from polymodal.study.jobs import Check, StudyJob, job_key
from polymodal.study.members import with_folds, with_options
from polymodal.tracking.index import roots

FOLDS = ".folds"  # in the folder of runs: content-addressed folds, shared by studies


class PlannedJobs:
    """Every job of a study with its key; each configuration is built once to fail early.

    Args:
        plan: The study.
        members: Name to configuration.
        configs: The same, resolved and checked.
        first: The experiment whose corpus and folds are the study's.
        check: Resolves and validates a configuration.
        runs: The folder of runs, or several as in `roots`.
        code: Hash of the code that decides results.
    """

    def __init__(
        self,
        plan: StudyConfig,
        members: Mapping[str, ComposedConfig],
        configs: Mapping[str, Mapping[str, Any]],
        first: Experiment,
        check: Check,
        runs: Path,
        code: str,
    ) -> None:
        self.plan, self.members, self.configs, self.first = plan, members, configs, first
        self.check, self.runs, self.code = check, runs, code
        self._by_name = {member.name: member for member in plan.members}
        self._jobs: dict[tuple[str, int, float, float], StudyJob] = {}
        self._built: dict[tuple[str, float], tuple[ComposedConfig, Experiment]] = {}

    def all(self) -> list[StudyJob]:
        """Return the jobs; each comes after those whose encoders it takes.

        Raises:
            UserError: A member cannot work, or its encoders were trained on its test rows.
        """
        for member in self.plan.ordered:
            for fraction in (*sorted(self.plan.fractions), 1.0):
                for seed in self.plan.seeds:
                    self._job(member, seed, fraction, 0.0)
        return [*self._jobs.values()]

    def _job(self, member: Member, seed: int, fraction: float, left_out: float) -> StudyJob:
        """Return a job; `left_out` is the fraction of training speakers that it leaves out."""
        left_out = 0.0 if member.applied else left_out  # not trained on this corpus
        name = (member.name, seed, fraction, left_out)
        if name not in self._jobs:
            held_out = left_out or member.held_out
            encoders = {
                modality: self._job(self._by_name[encoder], seed, fraction, held_out)
                for modality, encoder in member.encoders.items()
            }
            self._jobs[name] = self._build_job(member, seed, fraction, left_out, encoders)
        return self._jobs[name]

    def _build_job(
        self,
        member: Member,
        seed: int,
        fraction: float,
        left_out: float,
        encoders: Mapping[str, StudyJob],
    ) -> StudyJob:
        composed, experiment = self._experiment(member, left_out)
        varied = with_options(composed, {"seed": seed, "data.train_fraction": fraction})
        sources = {f"encoder.{name}.from_run": encoder.key for name, encoder in encoders.items()}
        keyed = with_options(varied, sources)
        return StudyJob(
            member.name,
            seed,
            fraction,
            varied,
            job_key(keyed.resolved(), experiment.fingerprint, self.code),
            applied=self.first.config["corpus"] if member.applied else None,
            # Seeds with encoders of their own cannot share features.
            vectorized=self.plan.vectorized and is_small_head(experiment) and not encoders,
            encoders=dict(encoders),
            left_out=left_out,
        )

    def _experiment(self, member: Member, left_out: float) -> tuple[ComposedConfig, Experiment]:
        """Return configuration and experiment of a member, with the folds it is trained on."""
        if (member.name, left_out) not in self._built:
            composed = self.members[member.name]
            if not member.applied:
                file = str(self._folds(member.held_out, left_out))
                composed = with_folds(composed, file, complete=not (left_out or member.held_out))
            experiment = prepare_experiment(self.check(composed), planned=self.configs)
            self._built[member.name, left_out] = composed, experiment
        return self._built[member.name, left_out]

    def _folds(self, held_out: float, left_out: float) -> Path:
        """Return the file of the folds: all training speakers, those held out, or the rest."""
        frame, folds = self.first.manifest.frame, self.first.folds
        if left_out:
            return self._store(hold_out(frame, folds, left_out)[0])
        return self._store(hold_out(frame, folds, held_out)[1]) if held_out else self._all_folds

    @cached_property
    def _all_folds(self) -> Path:
        return self._store(self.first.folds)

    def _store(self, folds: Sequence[Fold]) -> Path:
        """Store folds under a hash of their content, so that equal folds share one file."""
        folder = roots(self.runs)[0] / FOLDS
        folder.mkdir(parents=True, exist_ok=True)
        tmp_path = folder / f"{os.getpid()}.part"
        write_folds(tmp_path, folds, self.first.fingerprint)
        return tmp_path.replace(folder / f"{sha256_of(tmp_path)[:16]}.json")
