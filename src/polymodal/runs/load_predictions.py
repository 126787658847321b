"""Load the prediction tables and the scores of a finished run."""

from collections.abc import Sequence
from pathlib import Path

from polymodal.config.compose import load_config
from polymodal.config.instantiate import instantiate_partial
from polymodal.errors import PredictionError
from polymodal.evaluation.classification import Score
from polymodal.evaluation.torchmetrics import build_score
from polymodal.schemas.predictions import PredictionTable
from polymodal.tracking.run_folder import FoldDir


def read_tables(dirs: Sequence[FoldDir], name: str) -> list[PredictionTable]:
    """Read a prediction table, such as `test`, of each fold that has it."""
    files = [fold_dir.predictions / f"{name}.parquet" for fold_dir in dirs]
    return [PredictionTable.read(file) for file in files if file.is_file()]


def stored_table(run: Path, split: str) -> PredictionTable:
    """Read the prediction table of a split, such as `test`, from a run folder.

    Raises:
        PredictionError: The run has not predicted that split.
    """
    path = run / "predictions" / f"{split}.parquet"
    if not path.is_file():
        raise PredictionError(
            f"run {run.name} has no predictions for split {split!r}",
            hint=f"write them with `polymodal test {run.name} --split {split}`",
        )
    return PredictionTable.read(path)


def stored_scores(run: Path, table: PredictionTable) -> tuple[dict[str, Score], str]:
    """Build the scores of a run, and return them with the name of the monitored one.

    Raises:
        ConfigError: Its configuration cannot be read.
    """
    config = load_config(run / "config.yaml", "").resolved()
    scores = {
        k: build_score(instantiate_partial(section), table.kinds)
        for k, section in config["scores"].items()
    }
    monitor = str(config["task"]["monitor"])
    return scores, monitor if monitor in scores else next(iter(scores))
