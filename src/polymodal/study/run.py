"""Runs a study: the cells that are missing, votes over their predictions, and what follows."""

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from polymodal.config.compose import ComposedConfig, compose, project_packages
from polymodal.data.folds import write_folds
from polymodal.errors import ConfigError, RunError, nearest
from polymodal.evaluation.score import score_names
from polymodal.experiment.data_summary import dataset_summary
from polymodal.experiment.experiment import Experiment
from polymodal.preflight.prepare import prepare_experiment
from polymodal.report.study_page import write_report
from polymodal.runs.embedding_summary import mean_description, read_descriptions
from polymodal.runs.recorder import Session, recording, stage_time
from polymodal.runs.train import RunResult
from polymodal.runs.vote import is_fitted, vote_tables
from polymodal.schemas.predictions import ID, PredictionTable
from polymodal.schemas.run_record import RunRecord
from polymodal.security.files import atomic_write_text
from polymodal.study.analysis import (
    SPLITS,
    MemberResult,
    assign_to_folds,
    load_member_result,
    summarise,
)
from polymodal.study.config import HELD_OUT, IN_FOLD, StudyConfig, Vote
from polymodal.study.job_order import PlannedJobs
from polymodal.study.jobs import Check, StudyJob, code_hash, finished_jobs, short_hash
from polymodal.study.launcher import LaunchSpec, last_line, launch
from polymodal.study.members import compose_members, reference
from polymodal.tracking.index import find_runs
from polymodal.tracking.redaction import redact_words
from polymodal.training.progress import Display

STUDY = "study.json"
LINE_EVERY_S = 60.0


def run_study(composed: ComposedConfig, config: Mapping[str, Any], check: Check) -> RunResult:
    """Run what is missing of a study, votes, compares, and writes its report.

    A study of this name that was stopped is continued in its folder. Cells that have finished, in
    this study or in another, are not run again unless their configuration, data or code changed.

    Args:
        composed: The configuration of the study.
        config: The same, resolved and checked.
        check: Resolves the configuration of a member and refuses what cannot work.

    Raises:
        UserError: Something is wrong with a member or a vote; nothing was started.
        RunFailedError: A cell failed; the others have run, and are kept.
    """
    plan = StudyConfig.read(config["study"], num_devices=torch.cuda.device_count())
    runs = Path(config["paths"]["runs"])
    members = compose_members(plan, composed)
    configs = {name: check(composed) for name, composed in members.items()}
    first = prepare_experiment(configs[reference(plan)], planned=configs)
    _check_score(plan, first)
    votes = _check_votes(plan, first, check)
    code = _code()
    cells = PlannedJobs(plan, members, configs, first, check, runs, code).all()
    about = dataset_summary(first)
    with (
        recording(
            composed,
            config,
            kind="study",
            data=about,
            higher_is_better=first.score_directions,
            resume=_stopped(runs, composed.name),
        ) as session,
        Display(line_every_s=LINE_EVERY_S) as display,
    ):
        book = StudyRecord(session, plan, first, about, composed, code)
        write_folds(session.path / "folds.json", first.folds, first.fingerprint)
        with stage_time(session, "cells"):
            _run_cells(cells, plan, runs, book, display)
        display.show("comparing", 0.99, important=True)
        with stage_time(session, "compare"):
            told = _vote(plan, votes, _collect_results(plan, cells, first), display)
            book.close(cells, summarise(plan, told, first.scores, first.task.monitor))
            write_report(book.summary(cells), session.path)
    return session.path, RunRecord.read(session.path / "run.json")


def _code() -> str:
    """A hash of the code that decides results: ours, and that of the project we are in."""
    project = Path.cwd()
    packages = [project / name for name in project_packages(project)]
    return code_hash(
        [package if package.is_dir() else package.with_suffix(".py") for package in packages]
    )


def _check_score(plan: StudyConfig, first: Experiment) -> None:
    names = score_names(first.scores, first.task.values)
    if plan.score and plan.score not in names:
        raise ConfigError(
            f"study.score={plan.score} is no score of this task",
            hint=nearest(plan.score, names),
        )


def _check_votes(plan: StudyConfig, first: Experiment, check: Check) -> dict[str, dict[str, Any]]:
    """The configuration of each vote; one that is fitted needs validation rows in every fold."""
    frame = first.manifest.frame
    validated = first.config["selection"]["out_of_fold"] or all(
        (fold.split_of_rows(frame) == "val").any() for fold in first.folds
    )
    configs = {}
    for vote in plan.votes:
        config = check(compose(list(vote.voting), config_name="vote"))
        if is_fitted(config["voting"]) and not validated:
            raise ConfigError(
                f"study.votes.{vote.name} is fitted on validation rows, but a fold has none",
                hint="set split.val above 0 or, with split=nested, "
                "selection.out_of_fold=true in study.protocol",
            )
        configs[vote.name] = config["voting"]
    return configs


def _run_cells(
    cells: Sequence[StudyJob], plan: StudyConfig, runs: Path, book: "StudyRecord", display: Display
) -> None:
    """Run the cells that have not finished.

    Raises:
        RunError: Some failed; the others have run.
    """
    known = finished_jobs(runs)
    for cell in cells:
        cell.update_from_record(known)
        cell.reused = cell.done
    missing = [cell for cell in cells if not cell.done]
    if len(missing) < len(cells):
        display.print_line(f"{len(cells) - len(missing)} of {len(cells)} cells have run before")
    book.note(cells)
    jobs = _jobs(_grouped(missing), book)
    told: set[str] = set()

    def show(ended: Sequence[LaunchSpec], running: Sequence[LaunchSpec]) -> None:
        for job in ended:
            if job.words not in told:
                told.add(job.words)
                display.print_line(f"{job.words}: {last_line(job.log)}")
        doing = " | ".join(f"{job.words}: {last_line(job.log)}"[:70] for job in running)
        display.show(f"{len(ended)}/{len(jobs)} · {doing}", len(ended) / max(1, len(jobs)))

    codes = launch(jobs, parallel=plan.parallel, num_devices=torch.cuda.device_count(), show=show)
    known = finished_jobs(runs)
    for cell in cells:
        cell.update_from_record(known)
    book.note(cells)
    failed = [job for job in jobs if codes.get(job.words)]
    if failed:
        lines = [f"{job.words}: {last_line(job.log)} ({job.log})" for job in failed]
        lines += [f"{job.words}: not started" for job in jobs if job.words not in codes]
        raise RunError(
            f"{len(failed)} of {len(cells)} cells failed\n  " + "\n  ".join(lines),
            hint="mend it and give the same command again: the other cells are kept",
        )


def _grouped(cells: Sequence[StudyJob]) -> list[list[StudyJob]]:
    """Cells that one process runs: the seeds of a small head, any other cell by itself.

    Those with most modalities come first, as they take longest and nothing should wait for them.
    """
    groups: dict[Any, list[StudyJob]] = {}
    for cell in cells:
        name = (cell.member, cell.share, cell.left_out) if cell.at_once else cell.key
        groups.setdefault(name, []).append(cell)
    return sorted(groups.values(), key=lambda one: -len(one[0].composed.config.encoder))


def _jobs(groups: Sequence[Sequence[StudyJob]], book: "StudyRecord") -> list[LaunchSpec]:
    """A process for each group, behind those whose encoders it takes; the awaited ones first."""
    words = {cell.key: " & ".join(one.words for one in group) for group in groups for cell in group}
    jobs = [book.job(group, words) for group in groups]
    awaited = {one for job in jobs for one in job.after}
    return sorted(jobs, key=lambda job: job.words not in awaited)


def _collect_results(
    plan: StudyConfig, cells: Sequence[StudyJob], first: Experiment
) -> dict[str, list[MemberResult]]:
    """What each member said, one entry a cell; of applied ones in the folds of the study."""
    told: dict[str, list[MemberResult]] = {}
    applied = {member.name for member in plan.members if member.applied}
    for cell in cells:
        if cell.member not in applied and cell.run and not cell.left_out:
            told.setdefault(cell.member, []).append(
                load_member_result(cell.run, cell.seed, cell.share)
            )
    whole = {one.seed: one for one in told[reference(plan)] if one.share == 1}
    for cell in cells:
        if cell.predicted and cell.run:
            own = load_member_result(cell.run, cell.seed, cell.share)
            like = whole[cell.seed]
            told.setdefault(cell.member, []).append(assign_to_folds(own, cell.predicted, like))
    return told


def _vote(
    plan: StudyConfig,
    configs: Mapping[str, Mapping[str, Any]],
    told: dict[str, list[MemberResult]],
    display: Display,
) -> dict[str, list[MemberResult]]:
    """Add what the votes say, seed by seed."""
    for vote in plan.votes:
        display.show(f"vote · {vote.name}", 0.99, important=True)
        told[vote.name] = [_one_vote(vote, configs[vote.name], told, s) for s in plan.seeds]
    return told


def _one_vote(
    vote: Vote, config: Mapping[str, Any], told: Mapping[str, Sequence[MemberResult]], seed: int
) -> MemberResult:
    members = [next(t for t in told[name] if t.seed == seed and t.share == 1) for name in vote.of]
    tables = {
        part: [
            replace(member.tables[part], run_id=name)
            for member, name in zip(members, vote.of, strict=True)
            if part in member.tables
        ]
        for part in SPLITS
    }
    said: list[str] = []
    voted = {"test": vote_tables(config, tables["test"], tables["val"], said.append)}
    if len(tables["train"]) == len(members):  # for the generalisation gap
        voted["train"] = vote_tables(config, _shared(tables["train"]), tables["val"])
    return MemberResult("", seed, 1.0, voted, tuple(said))


def _shared(tables: Sequence[PredictionTable]) -> list[PredictionTable]:
    """The rows of each table that all have: a member is not trained on rows it cannot read."""
    keys = [ID, "fold"]
    rows = tables[0].frame.select(keys)
    for table in tables[1:]:
        rows = rows.join(table.frame, on=keys, how="semi")
    return [table.with_frame(table.frame.join(rows, on=keys, how="semi")) for table in tables]


def _stopped(runs: Path, name: str) -> Path | None:
    """The newest study of this name, if it was stopped or failed."""
    for path, record in ((run.path, run.record) for run in find_runs(runs)[0]):
        if record.kind == "study" and record.experiment == name:
            return path if record.status not in ("finished", "running") else None
    return None


class StudyRecord:
    """What stands in `study.json` while the study goes on.

    Args:
        session: The study's record.
        plan: The study.
        first: The member whose folds are the study's.
        about: Facts of its corpus.
        composed: The configuration of the study.
        code: Hash of the code that decides results.
    """

    def __init__(
        self,
        session: Session,
        plan: StudyConfig,
        first: Experiment,
        about: Mapping[str, Any],
        composed: ComposedConfig,
        code: str,
    ) -> None:
        self.session, self.plan, self.first = session, plan, first
        self.path = session.path / STUDY
        before = json.loads(self.path.read_text()) if self.path.is_file() else {}
        self.versions = [*before.get("versions", [])]
        self.earlier = {one["key"]: one for one in before.get("cells", [])}
        self.results: dict[str, Any] = {}
        self.name, self.about = composed.name, dict(about)
        words = redact_words(composed.overrides or (f"study={composed.name}",))
        self.command = f"polymodal study {shlex.join(words)}"
        text = composed.text()
        version = {"config": short_hash(text), "code": code}
        last = self.versions[-1] if self.versions else {}
        if {k: last.get(k) for k in version} != version:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.versions.append({"version": len(self.versions) + 1, "started": now, **version})
            atomic_write_text(session.path / f"config.{len(self.versions)}.yaml", text)

    def job(self, cells: Sequence[StudyJob], words: Mapping[str, str]) -> LaunchSpec:
        """The process of some cells; `words` names that of each cell that is still to be run."""
        first = cells[0]
        fitted = f"-without-{first.left_out:g}" if first.left_out else ""
        name = f"{first.member}-{first.seed}-{first.share:g}{fitted}.txt"
        return LaunchSpec(
            words[first.key],
            partial(self._arguments, cells),
            self.session.path / "logs" / name,
            frozenset(
                words[encoder.key]
                for cell in cells
                for encoder in cell.encoders.values()
                if encoder.key in words
            ),
        )

    def _arguments(self, cells: Sequence[StudyJob]) -> tuple[str, ...]:
        """Write what the process of some cells needs, when the encoders that they take are there.

        Their runs are looked up now: a run is recorded while the study goes on.
        """
        sources = [encoder for cell in cells for encoder in cell.encoders.values()]
        known = finished_jobs(self.session.path.parent) if sources else {}
        for source in sources:
            source.update_from_record(known)
        files = [cell.write(self.session.path / "cells", self.session.run_id) for cell in cells]
        return ("_study_worker", *map(str, files))

    def note(self, cells: Sequence[StudyJob]) -> None:
        """Write where the cells stand."""
        text = json.dumps(self.summary(cells), indent=1, ensure_ascii=False, default=str)
        atomic_write_text(self.path, text + "\n")

    def close(self, cells: Sequence[StudyJob], results: Mapping[str, Any]) -> None:
        """Write the results; what the cells' processes needed is no longer."""
        self.results = dict(results)
        for name, result in self.results["members"].items():
            result |= self._encoders(name, cells)
            result["runs"] = [
                c.run.name for c in cells if c.member == name and c.run and not c.left_out
            ]
        shutil.rmtree(self.session.path / "cells", ignore_errors=True)
        self.note(cells)

    def _encoders(self, name: str, cells: Sequence[StudyJob]) -> dict[str, Any]:
        """Of a member that takes its encoders from others: from which, and their embeddings."""
        member = next((member for member in self.plan.members if member.name == name), None)
        if member is None or not member.encoders:
            return {}
        runs = [
            read_descriptions(c.run)
            for c in cells
            if c.member == name and c.run and not c.left_out and c.share == 1
        ]
        modalities = dict.fromkeys(modality for run in runs for modality in run)
        return {
            "encoders": dict(member.encoders),
            "fusion_rows": {HELD_OUT: member.held_out} if member.held_out else IN_FOLD,
            "embeddings": {
                modality: mean_description([run[modality] for run in runs if modality in run])
                for modality in modalities
            },
        }

    def summary(self, cells: Sequence[StudyJob]) -> dict[str, Any]:
        """Return what stands in the file."""
        lines = [self._line(cell) for cell in cells]
        known = {line["key"] for line in lines}
        edited = [one for key, one in self.earlier.items() if key not in known]
        frame = self.first.manifest.frame
        return {
            "format": 1,
            "study": self.session.run_id,
            "name": self.name,
            "status": "finished" if self.results else "running",
            "classes": [*self.first.task.classes],
            "about": {
                "corpus": frame["corpus"][0],
                "rows": frame.height,
                "speakers": frame["speaker"].n_unique(),
                "folds": len(self.first.folds),
                "seeds": [*self.plan.seeds],
                "alpha": self.plan.alpha,
                "fingerprint": self.first.fingerprint,
                "leaks": self.about["leaks"],
                "transductive": self.about["transductive"],
                "command": self.command,
            },
            "members": {},
            "comparisons": [],
            "warnings": [],
            **self.results,
            "cells": [*lines, *({**one, "left": True} for one in edited)],
            "versions": self.versions,
            "runs": [line["run"] for line in lines if line["run"]],
        }

    def _line(self, cell: StudyJob) -> dict[str, Any]:
        before = self.earlier.get(cell.key)
        return {
            "member": cell.member,
            "seed": cell.seed,
            "share": cell.share,
            "left_out": cell.left_out,
            "encoders": {name: encoder.key for name, encoder in cell.encoders.items()},
            "key": cell.key,
            "run": cell.run.name if cell.run else None,
            "predicted": cell.predicted.name if cell.predicted else None,
            "status": cell.status,
            "version": before["version"] if before else len(self.versions),
            "reused": cell.reused,
            "duration_s": cell.duration_s,
        }
