"""Score and compare the members and votes of a study."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.errors import PredictionError
from polymodal.evaluation.breakdown import (
    accuracy_by_speaker,
    bootstrap_ci,
    bootstrap_cis,
    most_confident_errors,
    reliability,
    select_score,
)
from polymodal.evaluation.classification import Score
from polymodal.evaluation.confusion import confusion_matrix
from polymodal.evaluation.score import score_directions
from polymodal.evaluation.stats.bootstrap import interval
from polymodal.evaluation.stats.multiple import compare, generalisation_gap
from polymodal.schemas.predictions import ID, PredictionTable, concatenate
from polymodal.study.config import StudyConfig

MAX_ERRORS = 20  # per member

SPLITS = ("train", "val", "test")
SUBSETS = "test@subsets"


@dataclass(frozen=True)
class MemberResult:
    """The predictions of one job or vote."""

    run: str  # name of the run; empty for a vote
    seed: int  # seed of the run
    fraction: float  # fraction of the training rows that the member was trained on
    tables: Mapping[str, PredictionTable]  # split to prediction table
    messages: tuple[str, ...] = ()  # what a vote reports, such as fitted weights


def load_member_result(run: Path, seed: int, fraction: float) -> MemberResult:
    """Read the prediction tables of a run, with those of modality subsets if there are any."""
    files = {split: run / "predictions" / f"{split}.parquet" for split in (*SPLITS, SUBSETS)}
    tables = {k: PredictionTable.read(file) for k, file in files.items() if file.is_file()}
    return MemberResult(run.name, seed, fraction, tables)


def assign_to_folds(result: MemberResult, predicted: Path, like: MemberResult) -> MemberResult:
    """Assign the predictions of a member that was trained elsewhere to the folds of the study.

    Every fold gets the same prediction of an utterance, because the member saw none of them.

    Args:
        result: The result of the member on its own corpus.
        predicted: Folder of the run that predicted the study's corpus.
        like: A member whose tables have the expected rows.

    Raises:
        PredictionError: Rows are missing, or the classes differ.
    """
    table = PredictionTable.read(predicted / "predictions" / "predict.parquet")
    predictions = table.frame.drop("split", "fold", "seed")
    tables = {}
    for split in ("val", "test"):
        if split not in like.tables:
            continue
        rows = like.tables[split].frame.select(ID, "split", "fold", "seed")
        if (missing := rows.join(predictions, on=ID, how="anti")).height:
            raise PredictionError(
                f"{predicted.name} has no prediction of {missing.height} utterances of the study, "
                f"such as {missing[ID][0]!r}",
                hint="leave them out of the study's corpus with corpus.where, or this member",
            )
        tables[split] = table.with_frame(rows.join(predictions, on=ID, maintain_order="left"))
    return MemberResult(result.run, result.seed, result.fraction, tables)


def summarise(
    plan: StudyConfig,
    results: Mapping[str, Sequence[MemberResult]],
    scores: Mapping[str, Score],
    monitor: str,
) -> dict[str, Any]:
    """Score and compare the members and votes of a study.

    Args:
        plan: The study.
        results: Name to results, one for each seed and fraction.
        scores: Name to score.
        monitor: The score that is compared unless the study names one.

    Returns:
        Plain values: `score`, `higher_is_better`, `members`, `comparisons` and `warnings`.

    Raises:
        PredictionError: The score is unknown, or tables do not fit together.
    """
    name = plan.score or monitor
    complete = {key: _complete(entries) for key, entries in results.items()}
    tests = {key: _pooled(entries, "test") for key, entries in complete.items()}
    values = next(iter(tests.values())).values
    scored = {key: select_score(test, scores, name) for key, test in tests.items()}
    score = next(iter(scored.values()))[1]
    tables = {key: table for key, (table, _) in scored.items()}
    validated = all("val" in entry.tables for entries in complete.values() for entry in entries)
    against = "val" if validated else "test"  # the same for all
    compared = compare(tables, name, score, pairs=plan.pairs, alpha=plan.alpha)
    return {
        "score": name,
        "higher_is_better": score_directions(scores, values),
        "members": {
            key: _about(plan, key, results[key], tests[key], scores, name, against) for key in tests
        },
        "comparisons": [comparison.to_dict() for comparison in compared],
        "warnings": sorted({c for pair in scored.values() if (c := interval(*pair).caution)}),
    }


def _about(
    plan: StudyConfig,
    key: str,
    entries: Sequence[MemberResult],
    test: PredictionTable,
    scores: Mapping[str, Score],
    name: str,
    against: str,
) -> dict[str, Any]:
    complete = _complete(entries)
    about: dict[str, Any] = {"kind": "member", "scores": bootstrap_cis(test, scores, "test")}
    for vote in plan.votes:
        if vote.name == key:
            about |= {"kind": "vote", "of": [*vote.of], "ensemble": " ".join(vote.ensemble)}
            about["said"] = [message for entry in complete for message in entry.messages]
    if gap := _gap(complete, scores, name, against):
        about["gap"] = gap
    if len(fractions := sorted({entry.fraction for entry in entries})) > 1:
        about["curve"] = [_at_fraction(entries, fraction, scores, name) for fraction in fractions]
    if subsets := [entry.tables[SUBSETS] for entry in complete if SUBSETS in entry.tables]:
        about["subsets"] = _subsets(concatenate(subsets), scores)
    if test.classes:
        labelled = test.with_frame(test.frame.filter(pl.col("label").is_not_null()))
        predicted = labelled.logits().argmax(axis=1)
        counts = confusion_matrix(predicted, labelled.targets(), len(test.classes))
        about["confusion"] = counts.tolist()
        about["reliability"] = [[*astuple(bin_)] for bin_ in reliability(labelled)]
        about["errors"] = most_confident_errors(labelled, MAX_ERRORS)
        if test.speakers() is not None:
            about["per_speaker"] = accuracy_by_speaker(labelled)
    return about


def _complete(entries: Sequence[MemberResult]) -> list[MemberResult]:
    return [entry for entry in entries if entry.fraction == 1]


def _pooled(entries: Sequence[MemberResult], split: str) -> PredictionTable:
    return concatenate([entry.tables[split] for entry in entries])


def _gap(
    results: Sequence[MemberResult], scores: Mapping[str, Score], name: str, against: str
) -> dict[str, Any] | None:
    """Return how much higher the training rows score than held-out rows."""
    if not all({"train", against} <= {*result.tables} for result in results):
        return None
    tables = [select_score(_pooled(results, split), scores, name) for split in ("train", against)]
    (trained, score), (held_out, _) = tables
    return {
        "score": name,
        "against": against,
        "train": interval(trained, score, num_resamples=1).value,
        "other": interval(held_out, score, num_resamples=1).value,
        "gap": generalisation_gap(trained, held_out, score),
    }


def _at_fraction(
    entries: Sequence[MemberResult], fraction: float, scores: Mapping[str, Score], name: str
) -> dict[str, Any]:
    table = _pooled([entry for entry in entries if entry.fraction == fraction], "test")
    return {"share": fraction, **bootstrap_ci(*select_score(table, scores, name))}


def _subsets(table: PredictionTable, scores: Mapping[str, Score]) -> dict[str, Any]:
    """Return the scores of each subset of the modalities, by the names of the modalities."""
    subsets = {}
    for (split,), frame in table.frame.group_by(["split"], maintain_order=True):
        modalities = str(split).partition("@")[2]
        subsets[modalities] = bootstrap_cis(table.with_frame(frame), scores, "test")
    return subsets
