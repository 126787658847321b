"""What the members and votes of a study said, and what follows from it."""

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

MAX_ERRORS = 20  # of a member

SPLITS = ("train", "val", "test")
SUBSETS = "test@subsets"


@dataclass(frozen=True)
class MemberResult:
    """What one cell or vote said.

    Args:
        run: Name of its run; empty for a vote.
        seed: Its seed.
        share: The share of the training rows it was trained with.
        tables: Part to prediction table.
        said: What a vote found, in words.
    """

    run: str
    seed: int
    share: float
    tables: Mapping[str, PredictionTable]
    said: tuple[str, ...] = ()


def load_member_result(run: Path, seed: int, share: float) -> MemberResult:
    """Read the prediction tables of a run.

    Returns:
        What it said; with the tables of subsets of its modalities, if it was asked for them.
    """
    files = {part: run / "predictions" / f"{part}.parquet" for part in (*SPLITS, SUBSETS)}
    tables = {k: PredictionTable.read(file) for k, file in files.items() if file.is_file()}
    return MemberResult(run.name, seed, share, tables)


def assign_to_folds(own: MemberResult, predicted: Path, like: MemberResult) -> MemberResult:
    """Parts the predictions of a member that was trained elsewhere as the study's folds do.

    Every fold gets the same prediction of an utterance, as no fold was trained on.

    Args:
        own: What it said of its own corpus; only its training score is of use.
        predicted: Folder of the run that predicted the study's corpus.
        like: A member whose tables have the rows wanted.

    Raises:
        PredictionError: It lacks rows, or has other classes.
    """
    whole = PredictionTable.read(predicted / "predictions" / "predict.parquet")
    said = whole.frame.drop("split", "fold", "seed")
    tables = {}
    for part in ("val", "test"):
        if part not in like.tables:
            continue
        rows = like.tables[part].frame.select(ID, "split", "fold", "seed")
        if (lacking := rows.join(said, on=ID, how="anti")).height:
            raise PredictionError(
                f"{predicted.name} says nothing of {lacking.height} utterances of the study, such "
                f"as {lacking[ID][0]!r}",
                hint="leave them out of the study's corpus with corpus.where, or this member",
            )
        tables[part] = whole.with_frame(rows.join(said, on=ID, maintain_order="left"))
    return MemberResult(own.run, own.seed, own.share, tables)


def summarise(
    plan: StudyConfig,
    told: Mapping[str, Sequence[MemberResult]],
    scores: Mapping[str, Score],
    monitor: str,
) -> dict[str, Any]:
    """Score and compares the members and votes of a study.

    Args:
        plan: The study.
        told: Name to what was said, one entry a seed and share.
        scores: Name to score.
        monitor: The score that is compared unless the study names one.

    Returns:
        Plain values: `score`, `members`, `comparisons` and `warnings`.

    Raises:
        PredictionError: The score is unknown, or tables do not fit together.
    """
    name = plan.score or monitor
    whole = {key: [entry for entry in entries if entry.share == 1] for key, entries in told.items()}
    tests = {key: _pooled(entries, "test") for key, entries in whole.items()}
    values = next(iter(tests.values())).values
    scored = {key: select_score(test, scores, name) for key, test in tests.items()}
    score = next(iter(scored.values()))[1]
    tables = {key: table for key, (table, _) in scored.items()}
    every = [entry.tables for entries in whole.values() for entry in entries]
    against = "val" if all("val" in one for one in every) else "test"  # the same for all
    compared = compare(tables, name, score, pairs=plan.pairs, alpha=plan.alpha)
    return {
        "score": name,
        "higher_is_better": score_directions(scores, values),
        "members": {
            key: _about(plan, key, told[key], tests[key], scores, name, against) for key in tests
        },
        "comparisons": [one.to_dict() for one in compared],
        "warnings": sorted(
            {one for one in (interval(*pair).caution for pair in scored.values()) if one}
        ),
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
    """All that is told of one member or vote."""
    whole = [entry for entry in entries if entry.share == 1]
    about: dict[str, Any] = {"kind": "member", "scores": bootstrap_cis(test, scores, "test")}
    for vote in plan.votes:
        if vote.name == key:
            about |= {"kind": "vote", "of": [*vote.of], "voting": " ".join(vote.voting)}
            about["said"] = [words for one in whole for words in one.said]
    if gap := _gap(whole, scores, name, against):
        about["gap"] = gap
    if len(shares := sorted({entry.share for entry in entries})) > 1:
        about["curve"] = [_at_share(entries, share, scores, name) for share in shares]
    if subsets := [one.tables[SUBSETS] for one in whole if SUBSETS in one.tables]:
        about["subsets"] = _subsets(concatenate(subsets), scores)
    if test.classes:
        known = test.with_frame(test.frame.filter(pl.col("label").is_not_null()))
        said = known.logits().argmax(axis=1)
        about["confusion"] = confusion_matrix(said, known.targets(), len(test.classes)).tolist()
        about["reliability"] = [[*astuple(one)] for one in reliability(known)]
        about["errors"] = most_confident_errors(known, MAX_ERRORS)
        if test.speakers() is not None:
            about["per_speaker"] = accuracy_by_speaker(known)
    return about


def _pooled(entries: Sequence[MemberResult], part: str) -> PredictionTable:
    return concatenate([entry.tables[part] for entry in entries])


def _gap(
    whole: Sequence[MemberResult], scores: Mapping[str, Score], name: str, against: str
) -> dict[str, Any] | None:
    """How much better the rows that were trained on are scored than others."""
    if not all({"train", against} <= {*one.tables} for one in whole):
        return None
    tables = [select_score(_pooled(whole, part), scores, name) for part in ("train", against)]
    (seen, score), (unseen, _) = tables
    told = {
        key: interval(one, score, num_resamples=1).value
        for key, one in (("train", seen), ("other", unseen))
    }
    return {
        "score": name,
        "against": against,
        **told,
        "gap": generalisation_gap(seen, unseen, score),
    }


def _at_share(
    entries: Sequence[MemberResult], share: float, scores: Mapping[str, Score], name: str
) -> dict[str, Any]:
    table = _pooled([entry for entry in entries if entry.share == share], "test")
    return {"share": share, **bootstrap_ci(*select_score(table, scores, name))}


def _subsets(table: PredictionTable, scores: Mapping[str, Score]) -> dict[str, Any]:
    """Score of each subset of the modalities, named by them."""
    subsets = {}
    for (split,), frame in table.frame.group_by(["split"], maintain_order=True):
        part = str(split).partition("@")[2]
        subsets[part] = bootstrap_cis(table.with_frame(frame), scores, "test")
    return subsets
