"""Read the page of a recorded run from its folder and, if it can be read, its corpus."""

import base64
import io
import json
import wave
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from polymodal.config.compose import compose, load_config
from polymodal.config.instantiate import instantiate, instantiate_partial
from polymodal.data.audio import AudioReader
from polymodal.errors import UserError
from polymodal.evaluation.classification import Score
from polymodal.evaluation.torchmetrics import build_score
from polymodal.report.run_page import SPLITS, RunPage
from polymodal.report.sections import PlayableExample
from polymodal.runs.modality_ablation import subsets_file
from polymodal.schemas.manifest import Manifest, Utterance
from polymodal.schemas.predictions import PredictionTable
from polymodal.schemas.run_record import fold_marks
from polymodal.tracking.index import fold_records, read_record, with_live_status
from polymodal.tracking.metrics_log import read_metrics
from polymodal.tracking.run_folder import EMBEDDINGS

RATE_HZ, LONGEST_S = 16_000, 20.0


def run_page(
    folder: Path, *, audio: bool = False, warn: Callable[[str], None] = lambda message: None
) -> RunPage:
    """Read the content of the page of a run.

    Args:
        folder: The run folder.
        audio: Whether to embed the audio of utterances.
        warn: Called with a message if transcripts or embeddings cannot be read.

    Raises:
        UserError: The folder has no record, or a table or the configuration is invalid.
    """
    record = with_live_status(read_record(folder))
    paths = {split: folder / "predictions" / f"{split}.parquet" for split in SPLITS}
    read = {split: PredictionTable.read(path) for split, path in paths.items() if path.is_file()}
    config = load_config(folder / "config.yaml", record.experiment).resolved() if read else {}
    text = folder / "config.yaml"
    first = next(iter(read.values()), None)
    subsets = subsets_file(folder / "predictions", SPLITS[0])
    return RunPage(
        record,
        read,
        _scores(config, first) if first else {},
        _monitor(config, first),
        read_metrics(folder / "metrics.jsonl"),
        text.read_text(encoding="utf-8") if text.is_file() else "",
        _Corpus(config, audio, warn) if "corpus" in config else lambda ids: {},
        PredictionTable.read(subsets) if subsets.is_file() else None,
        embeddings=_embeddings(folder / EMBEDDINGS, warn),
        fold_marks=fold_marks(record, fold_records(folder)),
    )


def study_examples(
    runs: Sequence[Path], *, audio: bool, warn: Callable[[str], None]
) -> Callable[[Sequence[str]], Mapping[str, PlayableExample]]:
    """Return a loader of utterances from the corpus of the first run of a study that is here."""
    for folder in runs:
        if (folder / "config.yaml").is_file():
            return _Corpus(load_config(folder / "config.yaml", "").resolved(), audio, warn)
    warn("no transcripts, as none of the study's runs is here")
    return lambda ids: {}


def _embeddings(path: Path, warn: Callable[[str], None]) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError) as error:
        warn(f"no embeddings on the page, as {path.name} cannot be read: {error}")
        return None


def _scores(config: Mapping[str, Any], table: PredictionTable) -> dict[str, Score]:
    """Return the scores of the run's configuration, or the default ones of its task."""
    sections = config.get("scores") or _defaults(table)["scores"]
    return {
        name: build_score(instantiate_partial(section), table.kinds)
        for name, section in sections.items()
    }


def _monitor(config: Mapping[str, Any], table: PredictionTable | None) -> str:
    task = config.get("task") or (_defaults(table)["task"] if table else {})
    return str(task.get("monitor", "uar"))


def _defaults(table: PredictionTable) -> dict[str, Any]:
    return compose([f"task={table.task}"]).resolved()


class _Corpus:
    """Look up utterances in the corpus of a run."""

    def __init__(self, config: Mapping[str, Any], audio: bool, warn: Callable[[str], None]) -> None:
        self.config, self.audio, self.warn = config, audio, warn

    def __call__(self, ids: Sequence[str]) -> dict[str, PlayableExample]:
        try:
            manifest: Manifest = instantiate(self.config["corpus"], "corpus")
        except (UserError, OSError) as error:
            self.warn(f"no transcripts, as the corpus cannot be read: {str(error).splitlines()[0]}")
            return {}
        chosen = manifest.take(manifest.frame.filter(pl.col("utterance_id").is_in(list(ids))))
        rows = [chosen.utterance(row) for row in range(len(chosen))]
        return {
            row.utterance_id: PlayableExample(row.text, self._sound(chosen, row)) for row in rows
        }

    def _sound(self, manifest: Manifest, utterance: Utterance) -> str | None:
        if not self.audio or utterance.audio is None:
            return None
        channels = self.config["data"]["channels"]
        reader = AudioReader(manifest.root, sampling_rate_hz=RATE_HZ, channels=channels, cache_mb=0)
        try:
            samples = reader(utterance)
        except UserError as error:
            self.warn(str(error).splitlines()[0])
            return None
        return None if samples is None else _player(samples[: int(LONGEST_S * RATE_HZ)])


def _player(samples: np.ndarray) -> str:
    """Return 16-bit WAV as a data URL."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode()
