"""What trackers get of a run besides scores: flat options, predictions, confusion."""

import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polymodal.tracking.config_diff import flatten

# Sections that say nothing about the experiment.
LEFT_OUT = ("hydra", "paths", "tracker", "alert", "resume", "resume_state")
NOT_PLAIN = re.compile(r"[^\w./ -]", re.ASCII)


def flat(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return the options of an experiment by their dotted keys; lists become JSON.

    Example:
        >>> flat({"model": {"width": 8, "sizes": [1, 2]}, "seed": 0, "paths": {"runs": "runs"}})
        {'model.width': 8, 'model.sizes': '[1, 2]', 'seed': 0}
    """
    return {
        key: value
        if isinstance(value, bool | int | float | str)
        else json.dumps(value, ensure_ascii=False, default=str)
        for section in config
        if section not in LEFT_OUT
        for key, value in flatten(config[section], section)
    }


def plain_name(name: str, longest: int) -> str:
    """Return a name of letters, digits and a few marks, at most `longest` characters.

    Example:
        >>> plain_name("test@speech+text/uar", 50)
        'test_speech_text/uar'
    """
    return NOT_PLAIN.sub("_", name)[:longest].strip("/ ") or "_"


@contextmanager
def tables(folder: Path) -> Generator[list[Path]]:
    """Write the prediction tables of a run, and their confusion counts, as CSV files.

    They hold ids, labels and outputs: no transcript, no audio, and no speaker.

    Yields:
        The files, for as long as the context: `predictions-<split>.csv`, `confusion-<split>.csv`.
    """
    with TemporaryDirectory() as tmp_dir:
        for source in sorted((folder / "predictions").glob("*.parquet")):
            _write_tables(source, Path(tmp_dir))
        yield sorted(Path(tmp_dir).glob("*.csv"))


def _write_tables(source: Path, folder: Path) -> None:
    import polars as pl

    from polymodal.schemas.predictions import SPEAKER, PredictionTable

    table = PredictionTable.read(source)
    frame = table.frame.drop(SPEAKER, strict=False)
    table.with_frame(frame).write(folder / f"predictions-{source.stem}.csv")
    if table.classes:
        counts = frame.drop_nulls("label").group_by("label", "predicted").agg(utterances=pl.len())
        counts.sort("label", "predicted").write_csv(folder / f"confusion-{source.stem}.csv")
