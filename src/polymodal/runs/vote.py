"""Late fusion of finished runs, recorded as a run."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from polymodal.config.compose import ComposedConfig, load_config
from polymodal.config.instantiate import instantiate, instantiate_partial
from polymodal.config.schema import PathOptions
from polymodal.errors import PredictionError
from polymodal.evaluation.score import score_directions, score_table
from polymodal.evaluation.torchmetrics import build_score
from polymodal.runs.load_predictions import stored_table
from polymodal.runs.marks import absent_class_marks
from polymodal.runs.recorder import recording
from polymodal.runs.train import RunResult
from polymodal.schemas.predictions import PredictionTable
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.index import find_run, read_record


def vote(names: Sequence[str], composed: ComposedConfig, config: Mapping[str, Any]) -> RunResult:
    """Vote over the prediction tables of runs.

    Raises:
        UserError: A run or its table is missing, a run is named twice, or the tables do not match.
    """
    members = _members(names, PathOptions(**config["paths"]).runs_folder)
    tables = [stored_table(member, config["evaluate_on"]) for member in members]
    validation = [stored_table(m, "val") for m in members] if is_fitted(config["ensemble"]) else []
    messages: list[str] = []
    voted = vote_tables(config["ensemble"], tables, validation, messages.append)
    scores = {
        name: build_score(instantiate_partial(section), voted.kinds)
        for name, section in config["scores"].items()
    }
    data = {"members": [member.name for member in members], "rows": len(voted)}
    directions = score_directions(scores, voted.values)
    experiments = [read_record(member).experiment for member in members]
    notes = {"member_names": [name.rpartition("/")[2] for name in dict.fromkeys(experiments)]}
    with recording(
        composed, config, kind="vote", data=data, higher_is_better=directions, notes=notes
    ) as session:
        folder = session.path / "predictions"
        folder.mkdir(exist_ok=True)
        voted.write(folder / f"{config['evaluate_on']}.parquet")
        session.scores |= score_table(voted, scores)
        session.marks += absent_class_marks([voted])
        session.notes["ensemble"] = messages
    return RunResult(session.path, RunRecord.read(session.path / "run.json"))


def vote_tables(
    section: Mapping[str, Any],
    tables: Sequence[PredictionTable],
    validation: Sequence[PredictionTable] = (),
    report: Callable[[str], None] = lambda message: None,
) -> PredictionTable:
    """Vote on prediction tables, as runs and studies do.

    Args:
        section: The configuration of the vote: its `_target_` and options, resolved.
        tables: The members' tables of the rows to vote on.
        validation: Their validation tables, in the same order, for a fitted vote.
        report: Called with messages on what was fitted.

    Raises:
        PredictionError: The tables do not match, or a fitted vote lacks validation tables.
    """
    if is_fitted(section) and len(validation) != len(tables):
        raise PredictionError(
            f"{len(validation)} of {len(tables)} members have a validation table",
            expected="one each, as the vote is fitted on them",
            hint="train them with split.val above 0, or use ensemble=soft",
        )
    optional = {"validation": validation, "report": report}
    voted: PredictionTable = instantiate(section, "ensemble", optional=optional, tables=tables)
    return voted


def is_fitted(section: Mapping[str, Any]) -> bool:
    """Return whether a vote is fitted on validation tables."""
    return "validation" in inspect.signature(instantiate_partial(section)).parameters


def with_scores_of(names: Sequence[str], composed: ComposedConfig) -> ComposedConfig:
    """Return the configuration of a vote with the scores of its first member.

    So a regression vote is scored as regression, and has every score of its members.

    Raises:
        UserError: A run is missing or named twice, or its configuration cannot be read.
    """
    first = _members(names, Path(composed.config.paths.runs))[0]
    config = composed.config.copy()
    scores = load_config(first / "config.yaml", "").resolved()["scores"]
    OmegaConf.update(config, "scores", scores, merge=False, force_add=True)
    return replace(composed, config=config)


def _members(names: Sequence[str], runs: Path) -> list[Path]:
    members = [find_run(runs, name) for name in names]
    folders = [member.resolve() for member in members]
    duplicates = [folder.name for index, folder in enumerate(folders) if folder in folders[:index]]
    if duplicates or len(members) < 2:
        message = (
            f"run {duplicates[0]} is named twice"
            if duplicates
            else f"a vote over {len(members)} run(s)"
        )
        raise PredictionError(
            message, expected="at least two different runs", hint="`polymodal runs` lists them"
        )
    return members
