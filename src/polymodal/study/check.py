"""Checks what becomes several runs: every job of a sweep, every member of a study."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from polymodal.config.compose import ComposedConfig
from polymodal.config.provenance import Provenance, provenance_of
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
    """Check every job of a sweep; data and rehearsal are those of the first.

    Args:
        overrides: In Hydra's grammar, values to sweep over among them.
        full: As of `check_all`.
        with_effects: As of `check_all`.
        fast: Whether data and rehearsal are left out.

    Returns:
        What was found, and in which jobs.
    """
    try:
        jobs, left_out = sweep_jobs(overrides)
    except ConfigError as error:
        return Report([from_error(error, "unusable override", "")])
    parts: dict[str, Report] = {}
    for words in jobs:
        name = " ".join(word for word in words if word not in overrides) or f"job {len(parts)}"
        report = parts[name] = Report()
        composed = compose_into(report, words)
        if composed is not None and len(parts) == 1 and not fast:
            check_whole(composed, report, full=full, with_effects=with_effects)
        elif composed is not None:
            check_fast(composed, report)
    whole = merge_reports(parts)
    whole.notes.append(f"{len(jobs)} jobs; data and rehearsal are those of the first")
    if left_out:
        whole.notes.append(f"{left_out} further jobs were not looked at")
    return whole


def check_study(
    overrides: Sequence[str], *, full: bool = False, with_effects: bool = False
) -> Report:
    """Check a study: each of its members as a run, and its votes.

    Args:
        overrides: In Hydra's grammar.
        full: As of `check_all`.
        with_effects: As of `check_all`.

    Returns:
        What was found, and in which members.
    """
    whole = Report()
    study = compose_into(whole, overrides, config_name="study")
    if study is None:
        return whole
    origins = provenance_of(study)
    check_fast(study, whole)
    try:
        plan = StudyConfig.read(study.resolved()["study"])
    except ConfigError as error:
        whole.add([from_error(error, "study", _key_in(error) or "study")], origins)
        return whole
    members = _members(plan, study, whole, origins)
    parts, contexts = {}, {}
    for name, composed in members.items():
        parts[name] = Report()
        contexts[name] = check_whole(composed, parts[name], full=full, with_effects=with_effects)
        _move(parts[name], _written(plan, name), origins)
        parts[name].add(_encoders(plan, name, members), origins)
    for vote in plan.votes:
        parts[vote.name] = _vote(vote.voting)
        _move(parts[vote.name], dict.fromkeys(vote.voting, f"study.votes.{vote.name}"), origins)
    whole.add(_score(plan, contexts), origins)
    return merge_reports(parts, whole)


def _members(
    plan: StudyConfig, study: ComposedConfig, whole: Report, origins: Provenance
) -> Mapping[str, ComposedConfig]:
    """The members as they would run; none, and what is wrong, where one cannot be composed."""
    for member in plan.members:
        report = Report()
        compose_into(report, member.run)
        _move(report, _written(plan, member.name), origins)
        whole.findings += [replace(finding, of=(member.name,)) for finding in report.findings]
    if whole.fatal:
        whole.notes.append("the members were not checked further: one cannot be composed")
        return {}
    try:
        return compose_members(plan, study)
    except ConfigError as error:
        whole.add([from_error(error, "study", _key_in(error) or "study.members")], origins)
        return {}


def _encoders(
    plan: StudyConfig, name: str, members: Mapping[str, ComposedConfig]
) -> Iterator[Diagnostic]:
    """Encoders that a member cannot take from the members that it names."""
    from polymodal.experiment.trained_encoders import trained_encoder

    member = next(member for member in plan.members if member.name == name)
    for modality, source in member.encoders.items():
        try:
            planned = {source: members[source].resolved()}
            config = members[name].resolved()
            runs = Path(config["paths"]["runs"])
            trained_encoder(modality, config["encoder"][modality], runs, planned)
        except ConfigError as error:
            yield from_error(error, "encoders", f"study.members.{name}.encoders.{modality}")


def _vote(voting: Sequence[str]) -> Report:
    report = Report()
    composed = compose_into(report, voting, config_name="vote")
    if composed is not None:
        check_fast(composed, report)
    return report


def _score(plan: StudyConfig, contexts: Mapping[str, Context]) -> Iterator[Diagnostic]:
    """A score to compare that no member has."""
    built = next(
        (context.built for context in contexts.values() if "scores" in context.built), None
    )
    if plan.score is None or built is None:
        return
    names = score_names(built["scores"], built["task"].values)
    if plan.score not in names:
        message = f"study.score={plan.score} is no score of this task"
        yield Diagnostic("unknown score", "study.score", message, hint=nearest(plan.score, names))


def _written(plan: StudyConfig, member: str) -> dict[str, str]:
    """The overrides of a member, each with the key of the study's file where it stands."""
    own = next(one.run for one in plan.members if one.name == member)
    return {
        **dict.fromkeys(plan.protocol, "study.protocol"),
        **dict.fromkeys(plan.shared, "study.shared"),
        **dict.fromkeys(own, f"study.members.{member}"),
        **dict.fromkeys(plan.options.get(member, ()), f"study.with.{member}"),
    }


def _move(report: Report, written: Mapping[str, str], origins: Provenance) -> None:
    """Return of what overrides set that it stands in the study's file, not on the command line."""
    for index, finding in enumerate(report.findings):
        key = written.get(finding.origin.override or "") if finding.origin else None
        if key is not None:
            report.findings[index] = replace(finding, origin=origins.find(key))


def _key_in(error: ConfigError) -> str | None:
    match = re.search(r"study\.\w+(\.\w+)*", error.message)
    return match.group() if match else None


def merge_reports(parts: Mapping[str, Report], whole: Report | None = None) -> Report:
    """Join reports; what all have found is said once, and what some have, with their names.

    Args:
        parts: Name to report.
        whole: What was found before; a new report by default.

    Returns:
        `whole`, with everything.
    """
    whole = whole or Report()
    where: dict[tuple[str, str], list[str]] = {}
    firsts: dict[tuple[str, str], Diagnostic] = {}
    for name, part in parts.items():
        for one in part.findings:
            where.setdefault((one.key, one.message), []).append(name)
            firsts.setdefault((one.key, one.message), one)
        for stage, seconds in part.seconds.items():
            whole.seconds[stage] = whole.seconds.get(stage, 0.0) + seconds
    for note in dict.fromkeys(note for part in parts.values() for note in part.notes):
        having = [name for name, part in parts.items() if note in part.notes]
        common = len(having) == sum(bool(part.notes) for part in parts.values())
        whole.notes.append(note if common else f"{', '.join(having)}: {note}")
    shown = (
        replace(first, of=() if len(where[place]) == len(parts) else tuple(where[place]))
        for place, first in firsts.items()
    )
    whole.findings = sorted([*whole.findings, *shown], key=lambda one: not one.is_error)
    whole.parts = dict(parts)
    return whole
