"""Shallow fusion of finished runs as a run of its own."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polymodal.assemble.build import build, deferred
from polymodal.assemble.compose import Composed
from polymodal.assemble.runner import Outcome
from polymodal.assemble.session import recording
from polymodal.contracts.predictions import PredictionTable
from polymodal.contracts.run import RunRecord
from polymodal.errors import PredictionError
from polymodal.evaluation.evaluate import score_table
from polymodal.evaluation.library import build_score
from polymodal.record.index import find_run


def vote(names: Sequence[str], composed: Composed, config: Mapping[str, Any]) -> Outcome:
    """Joins the prediction tables of runs and votes.

    Args:
        names: The runs.
        composed: The configuration, for the record.
        config: The same, resolved and checked.

    Returns:
        Folder and record of the vote.

    Raises:
        UserError: A run or its table is missing, or the tables do not fit together.
    """
    runs = Path(config["paths"]["runs"])
    members = [find_run(runs, name) for name in names]
    tables = [_table(member, config["part"]) for member in members]
    said: list[str] = []
    given: dict[str, Any] = {"say": said.append}
    if "validation" in inspect.signature(deferred(config["voting"])).parameters:
        given["validation"] = [_table(member, "val") for member in members]
    voted: PredictionTable = build(config["voting"], "voting", optional=given, tables=tables)
    scores = {
        name: build_score(deferred(section), voted.kinds)
        for name, section in config["scores"].items()
    }
    facts = {"members": [member.name for member in members], "rows": len(voted)}
    with recording(composed, config, kind="vote", data=facts) as session:
        folder = session.path / "predictions"
        folder.mkdir(exist_ok=True)
        voted.write(folder / f"{config['part']}.parquet")
        session.scores |= score_table(voted, scores)
        session.notes["voting"] = said
    return session.path, RunRecord.read(session.path / "run.json")


def _table(member: Path, part: str) -> PredictionTable:
    path = member / "predictions" / f"{part}.parquet"
    if not path.is_file():
        raise PredictionError(
            f"run {member.name} has no predictions for part {part!r}",
            remedy=f"write them with `polymodal test {member.name} part={part}`",
        )
    return PredictionTable.read(path)
