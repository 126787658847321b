"""Run a study: its missing jobs, the votes over their predictions, and the analysis."""

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
from polymodal.config.schema import PathOptions
from polymodal.data.folds import FOLDS, write_folds
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
    """Run the missing jobs of a study, vote, compare, and write the report.

    A stopped study of the same name is continued in its folder. Jobs that finished, in this study
    or another, are not run again unless their configuration, data or code changed.

    Args:
        composed: The configuration of the study.
        config: The same, resolved and checked.
        check: Resolves and validates the configuration of a member.

    Raises:
        UserError: A member or a vote is invalid; nothing was started.
        RunFailedError: A job failed; the results of the others are kept.
    """
    plan = StudyConfig.read(config["study"], num_devices=torch.cuda.device_count())
    runs = PathOptions(**config["paths"]).runs_folder
    members = compose_members(plan, composed)
    configs = {name: check(composed) for name, composed in members.items()}
    first = prepare_experiment(configs[reference(plan)], planned=configs)
    _check_score(plan, first)
    votes = _check_votes(plan, first, check)
    code = _code()
    jobs = PlannedJobs(plan, members, configs, first, check, runs, code).all()
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
        record = StudyRecord(session, plan, first, about, composed, code)
        write_folds(session.path / FOLDS, first.folds, first.fingerprint)
        with stage_time(session, "cells"):
            _run_jobs(jobs, plan, runs, record, display)
        display.show("compare", "members and votes", 0, important=True)
        with stage_time(session, "compare"):
            results = _vote(plan, votes, _collect_results(plan, jobs), display)
            record.close(jobs, summarise(plan, results, first.scores, first.task.monitor))
            write_report(record.summary(jobs), session.path)
    return RunResult(session.path, RunRecord.read(session.path / "run.json"))


def _code() -> str:
    """Hash the code that decides results, with the packages of the current project."""
    project = Path.cwd()
    paths = [project / name for name in project_packages(project)]
    return code_hash([path if path.is_dir() else path.with_suffix(".py") for path in paths])


def _check_score(plan: StudyConfig, first: Experiment) -> None:
    names = score_names(first.scores, first.task.values)
    if plan.score and plan.score not in names:
        message = f"study.score={plan.score} is not a score of this task"
        raise ConfigError(message, hint=nearest(plan.score, names))


def _check_votes(plan: StudyConfig, first: Experiment, check: Check) -> dict[str, dict[str, Any]]:
    """Return the configuration of each vote; a fitted vote needs validation rows in every fold."""
    frame = first.manifest.frame
    validated = first.selection.out_of_fold or all(
        (fold.split_of_rows(frame) == "val").any() for fold in first.folds
    )
    configs = {}
    for vote in plan.votes:
        config = check(compose(list(vote.ensemble), config_name="vote"))
        if is_fitted(config["ensemble"]) and not validated:
            raise ConfigError(
                f"study.votes.{vote.name} is fitted on validation rows, but a fold has none",
                hint="set split.val above 0 or, with split=nested, "
                "selection.out_of_fold=true in study.protocol",
            )
        configs[vote.name] = config["ensemble"]
    return configs


def _run_jobs(
    jobs: Sequence[StudyJob], plan: StudyConfig, runs: Path, record: "StudyRecord", display: Display
) -> None:
    """Run the jobs that have not finished.

    Raises:
        RunError: Some jobs failed; the others have run.
    """
    finished = finished_jobs(runs)
    for job in jobs:
        job.update_from_record(finished)
        job.reused = job.done
    missing = [job for job in jobs if not job.done]
    if len(missing) < len(jobs):
        display.print_line(f"{len(jobs) - len(missing)} of {len(jobs)} jobs have run before")
    record.note(jobs)
    processes = _process_specs(_grouped(missing), record)
    reported: set[str] = set()

    def show(ended: Sequence[LaunchSpec], running: Sequence[LaunchSpec]) -> None:
        for process in ended:
            if process.name not in reported:
                reported.add(process.name)
                display.print_line(f"{process.name}: {last_line(process.log)}")
        lines = [f"{process.name}: {last_line(process.log)}"[:70] for process in running]
        details = f"{len(ended)}/{len(processes)} · {' | '.join(lines)}"
        display.show("jobs", details, len(ended) / max(1, len(processes)))

    num_devices = torch.cuda.device_count()
    codes = launch(processes, parallel=plan.parallel, num_devices=num_devices, show=show)
    finished = finished_jobs(runs)
    for job in jobs:
        job.update_from_record(finished)
    record.note(jobs)
    failed = [process for process in processes if codes.get(process.name)]
    if failed:
        lines = [f"{process.name}: {last_line(process.log)} ({process.log})" for process in failed]
        names = [process.name for process in processes if process.name not in codes]
        lines += [f"{name}: not started" for name in names]
        raise RunError(
            f"{len(failed)} of {len(jobs)} jobs failed\n  " + "\n  ".join(lines),
            hint="fix it and repeat the command: finished jobs are kept",
        )


def _grouped(jobs: Sequence[StudyJob]) -> list[list[StudyJob]]:
    """Group the jobs by process: the seeds of a small head together, any other job alone.

    Jobs with the most modalities come first, because they take longest.
    """
    groups: dict[Any, list[StudyJob]] = {}
    for job in jobs:
        name = (job.member, job.fraction, job.left_out) if job.vectorized else job.key
        groups.setdefault(name, []).append(job)
    return sorted(groups.values(), key=lambda group: -len(group[0].composed.config.encoder))


def _process_specs(groups: Sequence[Sequence[StudyJob]], record: "StudyRecord") -> list[LaunchSpec]:
    """Return a process for each group; those that others wait for come first."""
    names: dict[str, str] = {}
    for group in groups:
        names |= dict.fromkeys((job.key for job in group), " & ".join(j.description for j in group))
    specs = [record.process_spec(group, names) for group in groups]
    awaited = {name for spec in specs for name in spec.after}
    return sorted(specs, key=lambda spec: spec.name not in awaited)


def _collect_results(plan: StudyConfig, jobs: Sequence[StudyJob]) -> dict[str, list[MemberResult]]:
    """Read the results of each member, one per job; applied members get the study's folds."""
    results: dict[str, list[MemberResult]] = {}
    applied = {member.name for member in plan.members if member.applied}
    for job in jobs:
        if job.member not in applied and job.run and not job.left_out:
            result = load_member_result(job.run, job.seed, job.fraction)
            results.setdefault(job.member, []).append(result)
    complete = {result.seed: result for result in results[reference(plan)] if result.fraction == 1}
    for job in jobs:
        if job.predicted and job.run:
            result = load_member_result(job.run, job.seed, job.fraction)
            like = complete[job.seed]
            results.setdefault(job.member, []).append(assign_to_folds(result, job.predicted, like))
    return results


def _vote(
    plan: StudyConfig,
    configs: Mapping[str, Mapping[str, Any]],
    results: dict[str, list[MemberResult]],
    display: Display,
) -> dict[str, list[MemberResult]]:
    """Add the results of the votes, seed by seed."""
    for number, vote in enumerate(plan.votes):
        display.show("vote", vote.name, number / len(plan.votes), important=True)
        results[vote.name] = [_one_vote(vote, configs[vote.name], results, s) for s in plan.seeds]
    return results


def _one_vote(
    vote: Vote, config: Mapping[str, Any], results: Mapping[str, Sequence[MemberResult]], seed: int
) -> MemberResult:
    members = [
        next(r for r in results[name] if r.seed == seed and r.fraction == 1) for name in vote.of
    ]
    tables = {
        split: [
            replace(member.tables[split], run_id=name)
            for member, name in zip(members, vote.of, strict=True)
            if split in member.tables
        ]
        for split in SPLITS
    }
    messages: list[str] = []
    voted = {"test": vote_tables(config, tables["test"], tables["val"], messages.append)}
    if len(tables["train"]) == len(members):  # for the generalisation gap
        voted["train"] = vote_tables(config, _shared(tables["train"]), tables["val"])
    return MemberResult("", seed, 1.0, voted, tuple(messages))


def _shared(tables: Sequence[PredictionTable]) -> list[PredictionTable]:
    """Restrict tables to their common rows: members are not trained on rows they cannot read."""
    keys = [ID, "fold"]
    rows = tables[0].frame.select(keys)
    for table in tables[1:]:
        rows = rows.join(table.frame, on=keys, how="semi")
    return [table.with_frame(table.frame.join(rows, on=keys, how="semi")) for table in tables]


def _stopped(runs: Path, name: str) -> Path | None:
    """Return the newest study of this name if it was stopped or failed."""
    for path, record in ((run.path, run.record) for run in find_runs(runs)[0]):
        if record.kind == "study" and record.experiment == name:
            return path if record.status not in ("finished", "running") else None
    return None


class StudyRecord:
    """The file `study.json`, which is rewritten while the study runs.

    Args:
        session: The study's record.
        plan: The study.
        first: The member whose folds are the study's.
        about: Summary of its corpus.
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
        self.earlier = {job["key"]: job for job in before.get("cells", [])}
        self.results: dict[str, Any] = {}
        self.name, self.about = composed.name, dict(about)
        overrides = redact_words(composed.overrides or (f"study={composed.name}",))
        self.command = f"polymodal study {shlex.join(overrides)}"
        text = composed.text()
        version = {"config": short_hash(text), "code": code}
        last = self.versions[-1] if self.versions else {}
        if {k: last.get(k) for k in version} != version:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.versions.append({"version": len(self.versions) + 1, "started": now, **version})
            atomic_write_text(session.path / f"config.{len(self.versions)}.yaml", text)

    def process_spec(self, jobs: Sequence[StudyJob], names: Mapping[str, str]) -> LaunchSpec:
        """Return the process of a group of jobs; `names` has that of every job still to run."""
        first = jobs[0]
        suffix = f"-without-{first.left_out:g}" if first.left_out else ""
        name = f"{first.member}-{first.seed}-{first.fraction:g}{suffix}.txt"
        encoders = [encoder.key for job in jobs for encoder in job.encoders.values()]
        after = frozenset(names[key] for key in encoders if key in names)
        log = self.session.path / "logs" / name
        return LaunchSpec(names[first.key], partial(self._arguments, jobs), log, after)

    def _arguments(self, jobs: Sequence[StudyJob]) -> tuple[str, ...]:
        """Write the input files of a process, once the encoders that it takes are trained."""
        sources = [encoder for job in jobs for encoder in job.encoders.values()]
        finished = finished_jobs(self.session.path.parent) if sources else {}
        for source in sources:
            source.update_from_record(finished)
        files = [job.write(self.session.path / "cells", self.session.run_id) for job in jobs]
        return ("_study_worker", *map(str, files))

    def note(self, jobs: Sequence[StudyJob]) -> None:
        """Write the state of the jobs."""
        text = json.dumps(self.summary(jobs), indent=1, ensure_ascii=False, default=str)
        atomic_write_text(self.path, text + "\n")

    def close(self, jobs: Sequence[StudyJob], results: Mapping[str, Any]) -> None:
        """Write the results and remove the input files of the processes."""
        self.results = dict(results)
        for name, result in self.results["members"].items():
            result |= self._encoders(name, jobs)
            result["runs"] = [
                c.run.name for c in jobs if c.member == name and c.run and not c.left_out
            ]
        shutil.rmtree(self.session.path / "cells", ignore_errors=True)
        self.note(jobs)

    def _encoders(self, name: str, jobs: Sequence[StudyJob]) -> dict[str, Any]:
        """Return from which members a member takes its encoders, and their embeddings."""
        member = next((member for member in self.plan.members if member.name == name), None)
        if member is None or not member.encoders:
            return {}
        runs = [
            read_descriptions(c.run)
            for c in jobs
            if c.member == name and c.run and not c.left_out and c.fraction == 1
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

    def summary(self, jobs: Sequence[StudyJob]) -> dict[str, Any]:
        """Return the content of the file."""
        lines = [self._line(job) for job in jobs]
        keys = {line["key"] for line in lines}
        edited = [line for key, line in self.earlier.items() if key not in keys]
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
            "cells": [*lines, *({**line, "left": True} for line in edited)],
            "versions": self.versions,
            "runs": [line["run"] for line in lines if line["run"]],
        }

    def _line(self, job: StudyJob) -> dict[str, Any]:
        before = self.earlier.get(job.key)
        return {
            "member": job.member,
            "seed": job.seed,
            "share": job.fraction,
            "left_out": job.left_out,
            "encoders": {name: encoder.key for name, encoder in job.encoders.items()},
            "key": job.key,
            "run": job.run.name if job.run else None,
            "predicted": job.predicted.name if job.predicted else None,
            "status": job.status,
            "version": before["version"] if before else len(self.versions),
            "reused": job.reused,
            "duration_s": job.duration_s,
        }
