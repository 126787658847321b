"""What of a run is handed to trackers besides scores: flat options, predictions, confusion."""

import json
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Sections that say nothing about the experiment.
LEFT_OUT = ("hydra", "paths", "tracker", "alert", "resume")
NOT_PLAIN = re.compile(r"[^\w./ -]", re.ASCII)
Plain = bool | int | float | str


def flat(config: Mapping[str, Any]) -> dict[str, Plain]:
    """Return the options of an experiment as plain values, by their dotted keys.

    Returns:
        Key to value; lists as JSON, without what says nothing about the experiment.

    Example:
        >>> flat({"model": {"width": 8, "sizes": [1, 2]}, "seed": 0, "paths": {"runs": "runs"}})
        {'model.width': 8, 'model.sizes': '[1, 2]', 'seed': 0}
    """
    return dict(_flat({key: section for key, section in config.items() if key not in LEFT_OUT}, ""))


def _flat(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Plain]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str):
            yield f"{prefix}{key}", value
        else:
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False, default=str)


def plain_name(name: str, longest: int) -> str:
    """Return a name of nothing but letters, digits and a few marks.

    Args:
        name: Such as that of a score.
        longest: Number of characters that it may have.

    Example:
        >>> plain_name("test@speech+text/uar", 50)
        'test_speech_text/uar'
    """
    return NOT_PLAIN.sub("_", name)[:longest].strip("/ ") or "_"


@contextmanager
def tables(folder: Path) -> Generator[list[Path]]:
    """Write the prediction tables of a run as CSV, and how often each class was taken for which.

    They hold ids, labels and outputs: no transcript, no audio, and no speaker.

    Yields:
        The files, there as long as the body runs: `predictions-<part>.csv`, `confusion-<part>.csv`.
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
