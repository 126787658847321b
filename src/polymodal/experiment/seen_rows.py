"""Which rows the weights of a run have been trained on, and whether a fold is judged by them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polymodal.data.folds import FOLDS, Fold, num_covered_rows, read_folds, write_folds
from polymodal.data.trained_rows import TrainedRows, trained_rows
from polymodal.errors import SplitError
from polymodal.schemas.manifest import Manifest
from polymodal.schemas.predictions import ID, SPEAKER, PredictionTable
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.run_folder import FoldDir

ORIGINS = "origins"  # folder of a description: the runs that weights were warm-started from
ABOUT = "about.json"


@dataclass(frozen=True)
class SeenRows:
    """What one run has trained weights on.

    Args:
        run_id: The run.
        corpus: Name of its corpus.
        fingerprint: Of its corpus as it was read.
        folds: How each of its folds was split.
        rows: Columns `utterance_id` and, where it is known, `speaker`, of rows that it has
            predicted; None where nobody knows them.
    """

    run_id: str
    corpus: str
    fingerprint: str
    folds: tuple[Fold, ...]
    rows: pl.DataFrame | None = None

    @classmethod
    def of_run(
        cls, run: Path, record: RunRecord, fold_dirs: Sequence[FoldDir]
    ) -> "SeenRows | None":
        """Read what a run has been trained on; None where it has recorded no folds.

        Raises:
            SplitError: Its folds cannot be read.
        """
        if not (run / FOLDS).is_file():
            return None
        folds, fingerprint = read_folds(run)
        corpus = str(record.data.get("corpus") or record.experiment)
        return cls(record.run_id, corpus, fingerprint, tuple(folds), _predicted(run, fold_dirs))

    @classmethod
    def before(cls, description: Path) -> "list[SeenRows]":
        """Read what weights had been trained on before the run that describes them began.

        Args:
            description: The folder of the encoder's description in the run folder.

        Raises:
            SplitError: Folds cannot be read.
        """
        result = []
        for folder in sorted((description / ORIGINS).glob("*")):
            folds, fingerprint = read_folds(folder / FOLDS)
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            result.append(cls(folder.name, str(about["corpus"]), fingerprint, tuple(folds)))
        return result

    def write(self, description: Path) -> None:
        """Keep it beside weights that are trained further.

        Args:
            description: The folder of the encoder's description in the new run folder.
        """
        folder = description / ORIGINS / self.run_id
        folder.mkdir(parents=True, exist_ok=True)
        write_folds(folder / FOLDS, self.folds, self.fingerprint)
        (folder / ABOUT).write_text(json.dumps({"corpus": self.corpus}), encoding="utf-8")

    def is_of(self, manifest: Manifest, fingerprint: str) -> bool:
        """Return whether rows of a corpus are among those that the run was trained or tested on."""
        if self.fingerprint == fingerprint:
            return True
        if not num_covered_rows(manifest, self.folds):
            return False
        if self.rows is None:  # the folds name speakers that are here; only the name can differ
            return self.corpus in {*manifest.frame["corpus"]}
        keys = [column for column in (ID, SPEAKER) if column in self.rows.columns]
        return not manifest.frame.join(self.rows, on=keys, how="semi", nulls_equal=True).is_empty()

    def among(self, frame: pl.DataFrame, fold: Fold, *, speaker_dependent: bool) -> TrainedRows:
        """Find rows that a fold is judged by and that its weights were trained on.

        Args:
            frame: The rows of the corpus.
            fold: The fold.
            speaker_dependent: Whether its split may share speakers.

        Raises:
            SplitError: The corpus lacks a column that the run was split by.
        """
        weights = self.folds[fold.index if len(self.folds) > 1 else 0]
        return trained_rows(frame, fold, weights, speaker_dependent=speaker_dependent)


def require_unseen(
    where: str,
    seen: Sequence[SeenRows],
    manifest: Manifest,
    fingerprint: str,
    folds: Sequence[Fold],
    *,
    speaker_dependent: bool,
) -> None:
    """Refuse weights that have been trained on what the folds are validated or tested on.

    Args:
        where: What messages begin with: the option that names the run.
        seen: What the weights were trained on, one run after the other.
        manifest: The corpus.
        fingerprint: Of the corpus as it was read.
        folds: Its folds.
        speaker_dependent: Whether its split may share speakers.

    Raises:
        SplitError: They have, or it cannot be known.
    """
    for rows in (rows for rows in seen if rows.is_of(manifest, fingerprint)):
        for fold in folds:
            if len(rows.folds) > 1 and fold.index >= len(rows.folds):
                raise SplitError(f"{where}: {rows.run_id} has {len(rows.folds)} folds")
            result = rows.among(manifest.frame, fold, speaker_dependent=speaker_dependent)
            if result.num_rows:
                inner = " or of its inner folds" if fold.inner else ""
                raise SplitError(
                    f"{where}: {result.num_rows} validation or test rows of fold "
                    f"{fold.index}{inner}, of {len(result.speakers)} speakers, were training rows "
                    f"of these weights (in {rows.run_id}) or share their speakers, such as "
                    f"{result.example!r}",
                    expected="weights that have seen nothing of what a fold is validated or "
                    "tested on",
                    hint="use the folds of that run: split=file split.file=FOLDER/folds.json, "
                    "with its folder",
                )


def _predicted(run: Path, fold_dirs: Sequence[FoldDir]) -> pl.DataFrame | None:
    """Ids and speakers of the rows that a run has predicted; None where it has predicted none."""
    folders = [run / "predictions", *(fold_dir.predictions for fold_dir in fold_dirs)]
    files = sorted({file for folder in folders for file in folder.glob("*.parquet")})
    frames = [PredictionTable.read(file).frame for file in files]
    columns = [
        frame.select(name for name in (ID, SPEAKER) if name in frame.columns) for frame in frames
    ]
    return pl.concat(columns, how="diagonal").unique() if columns else None
