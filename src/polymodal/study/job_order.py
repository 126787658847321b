"""The cells of a study in the order of what they rest on: encoders first, then fusion over them."""

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

FOLDS = ".folds"  # in the folder of runs: folds by their content, which studies share


class PlannedJobs:
    """Every cell of a study with its key; each configuration is built once to fail early.

    Args:
        plan: The study.
        members: Name to configuration.
        configs: The same, resolved and checked.
        first: The experiment whose corpus and folds are the study's.
        check: Resolves a configuration and refuses what cannot work.
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
        self._cells: dict[tuple[str, int, float, float], StudyJob] = {}
        self._built: dict[tuple[str, float], tuple[ComposedConfig, Experiment]] = {}

    def all(self) -> list[StudyJob]:
        """Return the cells; each stands behind those whose encoders it takes.

        Raises:
            UserError: A member cannot work, or its encoders have seen what it is judged by.
        """
        for member in self.plan.ordered:
            for share in (*sorted(self.plan.shares), 1.0):
                for seed in self.plan.seeds:
                    self._cell(member, seed, share, 0.0)
        return [*self._cells.values()]

    def _cell(self, member: Member, seed: int, share: float, fitted: float) -> StudyJob:
        """A cell; with `fitted`, one that leaves that fraction of the training speakers out."""
        fitted = 0.0 if member.applied else fitted  # it has seen nothing of this corpus
        name = (member.name, seed, share, fitted)
        if name not in self._cells:
            encoders = {
                modality: self._cell(self._by_name[encoder], seed, share, fitted or member.held_out)
                for modality, encoder in member.encoders.items()
            }
            self._cells[name] = self._made(member, seed, share, fitted, encoders)
        return self._cells[name]

    def _made(
        self,
        member: Member,
        seed: int,
        share: float,
        fitted: float,
        encoders: Mapping[str, StudyJob],
    ) -> StudyJob:
        composed, experiment = self._experiment(member, fitted)
        varied = with_options(composed, {"seed": seed, "data.train_share": share})
        keyed = with_options(
            varied,
            {f"encoder.{modality}.from_run": encoder.key for modality, encoder in encoders.items()},
        )
        return StudyJob(
            member.name,
            seed,
            share,
            varied,
            job_key(keyed.resolved(), experiment.fingerprint, self.code),
            applied=self.first.config["corpus"] if member.applied else None,
            # Seeds that take encoders of their own share no features.
            at_once=self.plan.together and is_small_head(experiment) and not encoders,
            encoders=dict(encoders),
            left_out=fitted,
        )

    def _experiment(self, member: Member, fitted: float) -> tuple[ComposedConfig, Experiment]:
        """Configuration and experiment of a member, with the folds that it is trained on."""
        if (member.name, fitted) not in self._built:
            composed = self.members[member.name]
            if not member.applied:
                file = str(self._folds(member.held_out, fitted))
                composed = with_folds(composed, file, whole=not (fitted or member.held_out))
            experiment = prepare_experiment(self.check(composed), planned=self.configs)
            self._built[member.name, fitted] = composed, experiment
        return self._built[member.name, fitted]

    def _folds(self, held_out: float, fitted: float) -> Path:
        """The file of the folds: all training speakers, those held out, or all but those."""
        if fitted:
            return self._stored(hold_out(self._frame, self.first.folds, fitted)[0])
        if held_out:
            return self._stored(hold_out(self._frame, self.first.folds, held_out)[1])
        return self._whole

    @cached_property
    def _whole(self) -> Path:
        return self._stored(self.first.folds)

    @property
    def _frame(self) -> Any:
        return self.first.manifest.frame

    def _stored(self, folds: Sequence[Fold]) -> Path:
        """Keep folds under a name that says what they are, so that equal ones are one file."""
        folder = roots(self.runs)[0] / FOLDS
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f"{os.getpid()}.part"
        write_folds(beside, folds, self.first.fingerprint)
        return beside.replace(folder / f"{sha256_of(beside)[:16]}.json")
