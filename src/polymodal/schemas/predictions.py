"""The prediction table: what a model said of each utterance, one row an utterance."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from polymodal.errors import PredictionError

LOGIT, TARGET, VALUE, PROBABILITY = "logit_", "target_", "value_", "probability_"
ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl")  # of files that a table is written to
ID, SPEAKER = "utterance_id", "speaker"
FORMULA = r"^[=+\-@\t\r\x00]"


@dataclass(frozen=True)
class PredictionTable:
    """What was said of every utterance of a split: a logit a class, a number a value, or both.

    Args:
        frame: Columns `utterance_id, split, fold, seed`, and `speaker` where it is known; where
            there are classes `label, predicted, logit_<class> ...` (`label` is null for ties and
            unlabelled data); where there are values `target_<name> ..., value_<name> ...`.
        classes: The classes in the order of the logits.
        task: Name of the task, such as `classification`.
        run_id: The run that made the table.
        values: Names of the values: what a regression predicts, or the labels of which an
            utterance may have several (then a value is a logit, and its target 0 or 1).

    Raises:
        PredictionError: A column is missing, or there are neither classes nor values.
    """

    frame: pl.DataFrame
    classes: tuple[str, ...] = ()
    task: str = "classification"
    run_id: str = ""
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = [ID, "split", "fold", "seed"]
        if self.classes:
            columns += ["label", "predicted", *(LOGIT + name for name in self.classes)]
        columns += [kind + name for kind in (TARGET, VALUE) for name in self.values]
        missing = [name for name in columns if name not in self.frame.columns]
        if missing or len(columns) == 4:
            raise PredictionError(
                f"the prediction table lacks the columns {missing}",
                expected=f"the columns {columns}",
                hint="write it with `polymodal test` or `polymodal predict`",
            )
        speaker = [SPEAKER] if SPEAKER in self.frame.columns else []
        object.__setattr__(self, "frame", self.frame.select(*columns[:4], *speaker, *columns[4:]))

    def __len__(self) -> int:
        return self.frame.height

    @property
    def kinds(self) -> dict[str, int]:
        """What there is to score, and how many: classes, labels or values."""
        return kinds_of(self.task, self.classes, self.values)

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
        task: str = "classification",
    ) -> "PredictionTable":
        """Build a table of classes from arrays.

        Args:
            utterance_ids: Names of the utterances.
            logits: `[utterance, class]`.
            targets: Index of the true class, `[utterance]`; -1 where it is unknown.
            classes: The classes in the order of the logits.
            split: Part of the data, such as `test`.
            fold: Number of the fold.
            seed: Seed of the run.
            run_id: The run that made the table.
            task: Name of the task.

        Returns:
            The table.
        """
        names = np.array([*classes, None], dtype=object)
        columns = _identity(utterance_ids, split, fold, seed)
        columns["label"] = pl.Series(names[targets].tolist(), dtype=pl.String)
        columns["predicted"] = pl.Series(names[logits.argmax(axis=1)].tolist(), dtype=pl.String)
        for index, name in enumerate(classes):
            columns[LOGIT + name] = pl.Series(logits[:, index].astype(np.float32))
        return cls(pl.DataFrame(columns), tuple(classes), task, run_id)

    @classmethod
    def from_values(
        cls,
        utterance_ids: Sequence[str],
        values: npt.NDArray[np.float32],
        targets: npt.NDArray[np.float32],
        names: Sequence[str],
        *,
        split: str,
        fold: int = 0,
        seed: int = 0,
        run_id: str = "",
        task: str = "regression",
    ) -> "PredictionTable":
        """Build a table of values from arrays.

        Args:
            utterance_ids: Names of the utterances.
            values: What was predicted, `[utterance, value]`.
            targets: What is true, `[utterance, value]`; NaN where it is unknown.
            names: Names of the values.
            split: Part of the data, such as `test`.
            fold: Number of the fold.
            seed: Seed of the run.
            run_id: The run that made the table.
            task: Name of the task.

        Returns:
            The table; an unknown target is null.
        """
        columns = _identity(utterance_ids, split, fold, seed)
        for kind, array in ((TARGET, targets), (VALUE, values)):
            for index, name in enumerate(names):
                column = pl.Series(array[:, index].astype(np.float32))
                columns[kind + name] = column.fill_nan(None) if kind == TARGET else column
        return cls(pl.DataFrame(columns), (), task, run_id, tuple(names))

    def beside(self, other: "PredictionTable") -> "PredictionTable":
        """Put the values of another table of the same rows beside the classes of this one.

        Args:
            other: A table of values, its rows in the same order.

        Returns:
            A table of both.
        """
        more = other.frame.select(kind + name for kind in (TARGET, VALUE) for name in other.values)
        frame = self.frame.hstack(more)
        return PredictionTable(frame, self.classes, self.task, self.run_id, other.values)

    def with_speakers(self, speakers: pl.DataFrame) -> "PredictionTable":
        """Add who spoke, so that intervals and tests can treat a speaker's rows as one.

        Args:
            speakers: Columns `utterance_id` (each once) and `speaker`.

        Returns:
            The table, its rows in the same order.
        """
        speaker_of_id = speakers.select(ID, SPEAKER)
        frame = self.frame.drop(SPEAKER, strict=False)
        return self.with_frame(frame.join(speaker_of_id, on=ID, how="left", maintain_order="left"))

    def speakers(self) -> np.ndarray | None:
        """Return who spoke, `[utterance]`, or None unless it is known of every row."""
        if SPEAKER not in self.frame.columns or self.frame[SPEAKER].null_count():
            return None
        return np.array(self.frame[SPEAKER].to_list())

    def with_frame(self, frame: pl.DataFrame) -> "PredictionTable":
        """Return a table of other rows with the same classes and values.

        Args:
            frame: The rows.

        Returns:
            The table.
        """
        return replace(self, frame=frame)

    def logits(self) -> npt.NDArray[np.float64]:
        """Return the logits, `[utterance, class]`, in the order of `classes`."""
        return self.frame.select(LOGIT + name for name in self.classes).to_numpy().astype(float)

    def probabilities(self) -> npt.NDArray[np.float64]:
        """Return the softmax of the logits, `[utterance, class]`."""
        logits = self.logits()
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def targets(self) -> npt.NDArray[np.int64]:
        """Return the index of each label in `classes`, `[utterance]`; -1 where it is null."""
        index = {name: position for position, name in enumerate(self.classes)}
        return np.array([index.get(label, -1) for label in self.frame["label"]], dtype=np.int64)

    def predicted_values(self) -> npt.NDArray[np.float64]:
        """Return the predicted values, `[utterance, value]`, in the order of `values`."""
        return self.frame.select(VALUE + name for name in self.values).to_numpy().astype(float)

    def target_values(self) -> npt.NDArray[np.float64]:
        """Return the true values, `[utterance, value]`; NaN where one is unknown."""
        return self.frame.select(TARGET + name for name in self.values).to_numpy().astype(float)

    def write(self, path: Path) -> None:
        """Write the table with a column `probability_<class>` for each logit of a class or label.

        Args:
            path: The file to write, whose ending is one of `ENDINGS`; its folder must exist. A
                Parquet file has the metadata that `read` needs.
        """
        frame = self.frame.with_columns(self._probability_columns())
        if path.suffix in (".csv", ".tsv"):
            separator = "," if path.suffix == ".csv" else "\t"
            safe = frame.with_columns(_harmless(pl.selectors.string()))
            safe.write_csv(path, separator=separator)
            return
        if path.suffix == ".jsonl":
            frame.write_ndjson(path)
            return
        meta = {"classes": json.dumps(self.classes), "task": self.task, "run_id": self.run_id}
        meta["values"] = json.dumps(self.values)
        frame.write_parquet(path, metadata={f"polymodal.{k}": v for k, v in meta.items()})

    def _probability_columns(self) -> list[pl.Series]:
        columns: list[tuple[str, npt.NDArray[np.float64]]] = []
        if self.classes:
            columns += zip(self.classes, self.probabilities().T, strict=True)
        if self.task == "multilabel":
            sigmoid = (1 + np.tanh(self.predicted_values() / 2)) / 2
            columns += zip(self.values, sigmoid.T, strict=True)
        return [pl.Series(PROBABILITY + name, of.astype(np.float32)) for name, of in columns]

    @classmethod
    def read(cls, path: Path) -> "PredictionTable":
        """Read a table that `write` made as Parquet.

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
                tuple(json.loads(meta.get("polymodal.values", "[]"))),
            )
        except (OSError, KeyError, pl.exceptions.PolarsError) as error:
            raise PredictionError(
                f"{path} is no prediction table: {error}",
                hint="write it with `polymodal test` or `polymodal predict`",
            ) from None


def kinds_of(task: str, classes: Sequence[str], values: Sequence[str]) -> dict[str, int]:
    """Return what a task has to score: classes, labels (yes or no each) or values (numbers).

    Args:
        task: Its name.
        classes: The classes.
        values: The names of the values.

    Returns:
        Kind to how many.

    Example:
        >>> kinds_of("joint", ["anger", "joy"], ["valence"])
        {'classes': 2, 'values': 1}
    """
    named = {"classes": len(classes), "labels" if task == "multilabel" else "values": len(values)}
    return {kind: num for kind, num in named.items() if num}


def concatenate(tables: Sequence[PredictionTable]) -> PredictionTable:
    """Put the tables of several folds or seeds below one another.

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
        if (table.classes, table.values) != (first.classes, first.values):
            raise PredictionError(
                f"class orders differ: {first.classes + first.values} and "
                f"{table.classes + table.values}",
                hint="use runs of the same task",
            )
    frames = [table.frame for table in tables]
    if any(SPEAKER not in frame.columns for frame in frames):
        frames = [frame.drop(SPEAKER, strict=False) for frame in frames]
    return first.with_frame(pl.concat(frames))


def _harmless(cells: pl.Expr) -> pl.Expr:
    """Keep a spreadsheet from reading a cell as a formula, by a quotation mark before it."""
    return pl.when(cells.str.contains(FORMULA)).then("'" + cells).otherwise(cells).name.keep()


def _identity(utterance_ids: Sequence[str], split: str, fold: int, seed: int) -> dict[str, Any]:
    num = len(utterance_ids)
    return {
        ID: pl.Series(list(utterance_ids), dtype=pl.String),
        "split": pl.Series([split] * num, dtype=pl.String),
        "fold": pl.Series([fold] * num, dtype=pl.Int64),
        "seed": pl.Series([seed] * num, dtype=pl.Int64),
    }
