"""Check every job of a sweep and every member of a study."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from polymodal.config.compose import ComposedConfig
from polymodal.config.provenance import Provenance, provenance_of
from polymodal.config.schema import PathOptions
from polymodal.config.sweep import sweep_jobs
from polymodal.diagnostics import Diagnostic, from_error
from polymodal.errors import ConfigError, nearest
from polymodal.evaluation.score import score_names
from polymodal.preflight.check import Report, check_fast, check_whole, compose_into
from polymodal.preflight.context import Context
from polymodal.study.config import StudyConfig
from polymodal.study.members import compose_members


def is_study(overrides: Sequence[str]) -> bool:
    """Return whether overrides are those of a study.

    Example:
        >>> is_study(["study=sample/fusion_vs_voting"]), is_study(["seed=1"])
        (True, False)
    """
    return any(re.match(r"[+~]*study[.=]", override) for override in overrides)


def check_sweep(
    overrides: Sequence[str], *, full: bool = False, with_effects: bool = False, fast: bool = False
) -> Report:
    """Check every job of a sweep; data and dry run only of the first job, or not at all if fast.

    The options `full` and `with_effects` are those of `check_all`.
    """
    try:
        jobs, left_out = sweep_jobs(overrides)
    except ConfigError as error:
        return Report([from_error(error, "unusable override", "")])
    reports: dict[str, Report] = {}
    for job_overrides in jobs:
        varied = " ".join(word for word in job_overrides if word not in overrides)
        report = reports[varied or f"job {len(reports)}"] = Report()
        composed = compose_into(report, job_overrides)
        if composed is not None and len(reports) == 1 and not fast:
            check_whole(composed, report, full=full, with_effects=with_effects)
        elif composed is not None:
            check_fast(composed, report)
    merged = merge_reports(reports)
    merged.notes.append(f"{len(jobs)} jobs; data and dry run are those of the first")
    if left_out:
        merged.notes.append(f"{left_out} further jobs were not checked")
    return merged


def check_study(
    overrides: Sequence[str], *, full: bool = False, with_effects: bool = False
) -> Report:
    """Check each member of a study as a run, and the votes.

    The options `full` and `with_effects` are those of `check_all`.
    """
    report = Report()
    study = compose_into(report, overrides, config_name="study")
    if study is None:
        return report
    origins = provenance_of(study)
    check_fast(study, report)
    try:
        plan = StudyConfig.read(study.resolved()["study"])
    except ConfigError as error:
        report.add([from_error(error, "study", _key_in(error) or "study")], origins)
        return report
    members = _members(plan, study, report, origins)
    reports, contexts = {}, {}
    for name, composed in members.items():
        reports[name] = Report()
        contexts[name] = check_whole(composed, reports[name], full=full, with_effects=with_effects)
        _move(reports[name], _written(plan, name), origins)
        reports[name].add(_encoders(plan, name, members), origins)
    for vote in plan.votes:
        reports[vote.name] = _vote(vote.ensemble)
        _move(reports[vote.name], dict.fromkeys(vote.ensemble, f"study.votes.{vote.name}"), origins)
    report.add(_score(plan, contexts), origins)
    return merge_reports(reports, report)


def _members(
    plan: StudyConfig, study: ComposedConfig, study_report: Report, origins: Provenance
) -> Mapping[str, ComposedConfig]:
    """Compose the members; return none, and report why, if one cannot be composed."""
    for member in plan.members:
        report = Report()
        compose_into(report, member.run)
        _move(report, _written(plan, member.name), origins)
        findings = (replace(finding, of=(member.name,)) for finding in report.findings)
        study_report.findings += findings
    if study_report.errors:
        study_report.notes.append("the members were not checked further: one cannot be composed")
        return {}
    try:
        return compose_members(plan, study)
    except ConfigError as error:
        study_report.add([from_error(error, "study", _key_in(error) or "study.members")], origins)
        return {}


def _encoders(
    plan: StudyConfig, name: str, members: Mapping[str, ComposedConfig]
) -> Iterator[Diagnostic]:
    """Report encoders that a member cannot take from the members that it names."""
    from polymodal.experiment.trained_encoders import trained_encoder

    member = next(member for member in plan.members if member.name == name)
    for modality, source in member.encoders.items():
        try:
            planned = {source: members[source].resolved()}
            config = members[name].resolved()
            runs = PathOptions(**config["paths"]).runs_folder
            trained_encoder(modality, config["encoder"][modality], runs, planned)
        except ConfigError as error:
            yield from_error(error, "encoders", f"study.members.{name}.encoders.{modality}")


def _vote(overrides: Sequence[str]) -> Report:
    report = Report()
    composed = compose_into(report, overrides, config_name="vote")
    if composed is not None:
        check_fast(composed, report)
    return report


def _score(plan: StudyConfig, contexts: Mapping[str, Context]) -> Iterator[Diagnostic]:
    """Report a score to compare that no member has."""
    builds = [context.built for context in contexts.values() if "scores" in context.built]
    if plan.score is None or not builds:
        return
    built = builds[0]
    names = score_names(built["scores"], built["task"].values)
    if plan.score not in names:
        message = f"study.score={plan.score} is not a score of this task"
        yield Diagnostic("unknown score", "study.score", message, hint=nearest(plan.score, names))


def _written(plan: StudyConfig, member: str) -> dict[str, str]:
    """Return the overrides of a member, each with its key in the study's file."""
    overrides = next(candidate.run for candidate in plan.members if candidate.name == member)
    return {
        **dict.fromkeys(plan.protocol, "study.protocol"),
        **dict.fromkeys(plan.shared, "study.shared"),
        **dict.fromkeys(overrides, f"study.members.{member}"),
        **dict.fromkeys(plan.options.get(member, ()), f"study.with.{member}"),
    }


def _move(report: Report, written: Mapping[str, str], origins: Provenance) -> None:
    """Point findings on overrides to the study's file instead of the command line."""
    for index, finding in enumerate(report.findings):
        key = written.get(finding.origin.override or "") if finding.origin else None
        if key is not None:
            report.findings[index] = replace(finding, origin=origins.find(key))


def _key_in(error: ConfigError) -> str | None:
    match = re.search(r"study\.\w+(\.\w+)*", error.message)
    return match.group() if match else None


def merge_reports(reports: Mapping[str, Report], merged: Report | None = None) -> Report:
    """Merge reports, into one if given: what all found once, what some found with their names."""
    merged = merged or Report()
    names_of: dict[tuple[str, str], list[str]] = {}
    firsts: dict[tuple[str, str], Diagnostic] = {}
    for name, report in reports.items():
        for finding in report.findings:
            names_of.setdefault((finding.key, finding.message), []).append(name)
            firsts.setdefault((finding.key, finding.message), finding)
        for stage, seconds in report.seconds.items():
            merged.seconds[stage] = merged.seconds.get(stage, 0.0) + seconds
    for note in dict.fromkeys(note for report in reports.values() for note in report.notes):
        owners = [name for name, report in reports.items() if note in report.notes]
        common = len(owners) == sum(bool(report.notes) for report in reports.values())
        merged.notes.append(note if common else f"{', '.join(owners)}: {note}")
    for key, first in firsts.items():
        names = () if len(names_of[key]) == len(reports) else tuple(names_of[key])
        merged.findings.append(replace(first, of=names))
    merged.findings.sort(key=lambda finding: not finding.is_error)
    merged.members = dict(reports)
    return merged
