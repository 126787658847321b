"""The command that `polymodal corpus` prints next works as it is printed."""

import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from polymodal.cli.next_command import run_command
from polymodal.config.compose import compose
from polymodal.preflight.prepare import prepare_experiment
from polymodal.schemas.manifest import Manifest

ROWS = [
    (f"u{number:02}", f"s{number % 6}", "joy" if number % 2 else "큰 화") for number in range(24)
]


def manifest_of(folder, *modalities):
    """Write a manifest of rows that have some modalities, and return it."""
    rng = np.random.default_rng(0)
    rows = []
    for name, speaker, label in ROWS:
        row = {"utterance_id": name, "speaker": speaker, "label": label, "duration_s": 1.0}
        if "audio" in modalities:
            soundfile.write(folder / f"{name}.wav", rng.normal(0, 0.1, 16_000), 16_000)
            row["audio"] = f"{name}.wav"
        if "text" in modalities:
            row["text"] = f"{label} {name}"
        arrays = {"gsr": (rng.normal(size=8), 4.0), "face": (rng.normal(size=(5, 7)), 25.0)}
        row["signals"] = []
        for signal in arrays.keys() & set(modalities):
            values, rate_hz = arrays[signal]
            np.save(folder / f"{name}-{signal}.npy", values.astype(np.float32))
            path = f"{name}-{signal}.npy"
            reference = {"name": signal, "path": path, "rate_hz": rate_hz, "start": 0}
            row["signals"].append({**reference, "length": len(values)})
        rows.append(row)
    manifest = Manifest(pl.DataFrame(rows), folder)
    manifest.write(folder / "m.parquet")
    return manifest


@pytest.mark.parametrize(
    ("modalities", "encoders"),
    [
        (["text"], {"text": "TextEncoder"}),
        (["audio"], {"speech": "LogMelEncoder"}),
        (["audio", "text"], {"speech": "LogMelEncoder", "text": "TextEncoder"}),
        (["gsr"], {"physiology": "SignalEncoder"}),
        (["face"], {"features": "PrecomputedEncoder"}),
    ],
    ids=" ".join,
)
def test_every_corpus_gets_encoders_for_what_it_has(workplace, modalities, encoders):
    manifest = manifest_of(workplace, *modalities)
    program, command, *overrides = shlex.split(run_command(manifest, Path("m.parquet")))
    assert (program, command) == ("polymodal", "run")
    experiment = prepare_experiment(compose(overrides).resolved())
    assert {name: type(one).__name__ for name, one in experiment.prototypes.items()} == encoders
    assert experiment.task.classes == ("joy", "큰 화")


def test_the_printed_command_runs(polymodal, workplace):
    lines = [f"{name},{speaker},{label} {name}" for name, speaker, label in ROWS]
    labelled = [f"{line},{row[2]}" for line, row in zip(lines, ROWS, strict=True)]
    Path("data").mkdir()
    text = "\n".join(["utterance_id,speaker,text,label", *labelled])
    Path("data/manifest.csv").write_text(text + "\n", encoding="utf-8")
    code, out, error = polymodal("corpus", "table", "data", "--out", "my table.parquet")
    assert code == 0, error
    printed = next(line for line in out.splitlines() if "polymodal run" in line)
    _, *words = shlex.split(printed)
    code, _, error = polymodal(*words, "debug=fast", "trainer.accelerator=cpu")
    assert code == 0, error
