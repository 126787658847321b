"""The command that trains on a manifest, with an encoder for each modality that it has."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polymodal.schemas.manifest import Manifest

PHYSIOLOGY = {"eda", "temp", "ibi"}  # which encoder=signals reads by default


def run_command(manifest: "Manifest", path: Path) -> str:
    """Return the command that trains on a manifest that was written to a path.

    Audio, text and signals get small encoders that need no download; features that were computed
    elsewhere are read as they are, those of one modality.
    """
    import polars as pl

    frame = manifest.frame
    voted = frame["votes"].explode().drop_nulls().struct.field("label")
    classes = pl.concat([frame["label"].drop_nulls(), voted]).unique().sort()
    encoders = [
        encoder
        for column, encoder in (("audio", "logmel"), ("text", "characters"))
        if frame[column].null_count() < len(frame)
    ]
    options: list[str] = []
    signals = frame["signals"].explode().drop_nulls().struct.field("name").unique().sort()
    if len(signals):
        encoder, options = _signal_encoder(manifest, signals.to_list())
        encoders.append(encoder)
    model = ["model=unimodal"] if len(encoders) == 1 else []
    arguments = [
        *("polymodal", "run", "corpus=manifest", f"corpus.file={path}"),
        f"corpus.classes=[{','.join(classes)}]",
        f"encoder=[{','.join(encoders)}]",
        *(model + options),
    ]
    return shlex.join(arguments)


def _signal_encoder(manifest: "Manifest", names: list[str]) -> tuple[str, list[str]]:
    """Return the encoder for signals, and its options: vectors are read as they are."""
    from polymodal.data.signals import SignalReader

    first = manifest.frame["signals"].list.len().fill_null(0).arg_max()
    read = SignalReader(manifest.signals_folder)(manifest.utterance(int(first or 0))) or {}
    for name, (values, rate_hz) in read.items():
        if values.ndim > 1 and (rate_hz is not None or values.shape[1] > 2):
            return "precomputed", [
                f"encoder.features.signal={name}",
                f"encoder.features.feature_size={values.shape[1]}",
            ]
    if PHYSIOLOGY.issuperset(names):
        return "signals", []
    return "signals", [f"encoder.physiology.signals=[{','.join(names)}]"]
