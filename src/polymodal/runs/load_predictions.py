"""What a finished run has left behind: its prediction tables, and what they are scored by."""

from pathlib import Path

from polymodal.config.compose import load_config
from polymodal.config.instantiate import instantiate_partial
from polymodal.errors import PredictionError
from polymodal.evaluation.classification import Score
from polymodal.evaluation.torchmetrics import build_score
from polymodal.schemas.predictions import PredictionTable


def stored_table(run: Path, part: str) -> PredictionTable:
    """Read a prediction table of a run.

    Args:
        run: The run folder.
        part: Such as `test`.

    Raises:
        PredictionError: The run has not predicted that part.
    """
    path = run / "predictions" / f"{part}.parquet"
    if not path.is_file():
        raise PredictionError(
            f"run {run.name} has no predictions for part {part!r}",
            hint=f"write them with `polymodal test {run.name} part={part}`",
        )
    return PredictionTable.read(path)


def stored_scores(run: Path, table: PredictionTable) -> tuple[dict[str, Score], str]:
    """Build the scores that a run was scored by.

    Raises:
        ConfigError: Its configuration cannot be read.
    """
    config = load_config(run / "config.yaml", "").resolved()
    scores = {
        k: build_score(instantiate_partial(one), table.kinds) for k, one in config["scores"].items()
    }
    monitor = str(config["task"]["monitor"])
    return scores, monitor if monitor in scores else next(iter(scores))
