"""The prediction table: what a model said of each utterance, one row an utterance."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from polymodal.errors import PredictionError

LOGIT = "logit_"


@dataclass(frozen=True)
class PredictionTable:
    """Logits of every class for every utterance of a split.

    Args:
        frame: Columns `utterance_id, split, fold, seed, label, predicted, logit_<class> ...`;
            `label` is null for unlabelled data.
        classes: The classes in the order of the logits.
        task: Name of the task, such as `classification`.
        run_id: The run that made the table.

    Raises:
        PredictionError: A column is missing.
    """

    frame: pl.DataFrame
    classes: tuple[str, ...]
    task: str = "classification"
    run_id: str = ""

    def __post_init__(self) -> None:
        wanted = ["utterance_id", "split", "fold", "seed", "label", "predicted"]
        wanted += [LOGIT + name for name in self.classes]
        missing = [name for name in wanted if name not in self.frame.columns]
        if missing:
            raise PredictionError(
                f"the prediction table lacks the columns {missing}",
                expected=f"the columns {wanted}",
                remedy="write it with `polymodal test` or `polymodal predict`",
            )
        object.__setattr__(self, "frame", self.frame.select(wanted))

    def __len__(self) -> int:
        return self.frame.height

    @classmethod
    def from_logits(
        cls,
        utterance_ids: Sequence[str],
        logits: npt.NDArray[np.float32],
        targets: npt.NDArray[np.int64],
        classes: Sequence[str],
        *,
        split: str,
        fold: int = 0,
        seed: int = 0,
        run_id: str = "",
    ) -> "PredictionTable":
        """Builds a table from arrays.

        Args:
            utterance_ids: Names of the utterances.
            logits: `[utterance, class]`.
            targets: Index of the true class, `[utterance]`; -1 where it is unknown.
            classes: The classes in the order of the logits.
            split: Part of the data, such as `test`.
            fold: Number of the fold.
            seed: Seed of the run.
            run_id: The run that made the table.

        Returns:
            The table.
        """
        names = np.array([*classes, None], dtype=object)
        columns = {
            "utterance_id": pl.Series(list(utterance_ids), dtype=pl.String),
            "split": pl.Series([split] * len(utterance_ids), dtype=pl.String),
            "fold": pl.Series([fold] * len(utterance_ids), dtype=pl.Int64),
            "seed": pl.Series([seed] * len(utterance_ids), dtype=pl.Int64),
            "label": pl.Series(names[targets].tolist(), dtype=pl.String),
            "predicted": pl.Series(names[logits.argmax(axis=1)].tolist(), dtype=pl.String),
        }
        for index, name in enumerate(classes):
            columns[LOGIT + name] = pl.Series(logits[:, index].astype(np.float32))
        return cls(pl.DataFrame(columns), tuple(classes), run_id=run_id)

    def logits(self) -> npt.NDArray[np.float64]:
        """Returns the logits, `[utterance, class]`, in the order of `classes`."""
        return self.frame.select(LOGIT + name for name in self.classes).to_numpy().astype(float)

    def probabilities(self) -> npt.NDArray[np.float64]:
        """Returns the softmax of the logits, `[utterance, class]`."""
        logits = self.logits()
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def targets(self) -> npt.NDArray[np.int64]:
        """Returns the index of each label in `classes`, `[utterance]`; -1 where it is null."""
        index = {name: position for position, name in enumerate(self.classes)}
        return np.array([index.get(label, -1) for label in self.frame["label"]], dtype=np.int64)

    def write(self, path: Path) -> None:
        """Writes the table: `.parquet` with its metadata, or `.csv`.

        Args:
            path: The file to write; its folder must exist.
        """
        if path.suffix == ".csv":
            self.frame.write_csv(path)
            return
        meta = {"classes": json.dumps(self.classes), "task": self.task, "run_id": self.run_id}
        self.frame.write_parquet(path, metadata={f"polymodal.{k}": v for k, v in meta.items()})

    @classmethod
    def read(cls, path: Path) -> "PredictionTable":
        """Reads a table that `write` made as Parquet.

        Args:
            path: The file.

        Returns:
            The table.

        Raises:
            PredictionError: The file is missing, no Parquet, or no prediction table.
        """
        try:
            meta = pl.read_parquet_metadata(path)
            return cls(
                pl.read_parquet(path),
                tuple(json.loads(meta["polymodal.classes"])),
                meta["polymodal.task"],
                meta["polymodal.run_id"],
            )
        except (OSError, KeyError, pl.exceptions.PolarsError) as error:
            raise PredictionError(
                f"{path} is no prediction table: {error}",
                remedy="write it with `polymodal test` or `polymodal predict`",
            ) from None


def concatenate(tables: Sequence[PredictionTable]) -> PredictionTable:
    """Puts the tables of several folds or seeds below one another.

    Args:
        tables: Tables with the same classes.

    Returns:
        One table.

    Raises:
        PredictionError: There is no table, or the class orders differ.
    """
    if not tables:
        raise PredictionError("there is no prediction table to put together")
    first = tables[0]
    for table in tables[1:]:
        if table.classes != first.classes:
            raise PredictionError(
                f"class orders differ: {first.classes} and {table.classes}",
                remedy="use runs of the same task",
            )
    frame = pl.concat([table.frame for table in tables])
    return PredictionTable(frame, first.classes, first.task, first.run_id)
