"""Generated run folders: a search over options after some weeks; no model is trained."""

import json
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.environment import host

EXPERIMENTS = {
    "sample/speech": 0.44,
    "sample/text": 0.42,
    "sample/fusion/cross_attention": 0.74,
    "sample/fusion/gated": 0.70,
    "emodb/logmel": 0.66,
}
CONFIG = """\
corpus:
  _target_: polymodal.corpora.sample.read_sample
  root: ${{paths.cache}}/sample
  classes: [anger, happiness, sadness, contentment]
  num_speakers: 15
split:
  _target_: polymodal.data.splits.holdout
  groups: [speaker]
  test: 0.25
  val: 0.15
encoder:
  speech:
    _target_: polymodal.encoders.logmel.LogMelEncoder
    num_mels: {num_mels}
    width: 128
    num_layers: {num_layers}
    dropout: {dropout}
    spec_augment: {spec_augment}
model:
  _target_: polymodal.models.cross_attention.CrossAttentionFusion
  width: {width}
  num_heads: 4
  pooling: {pooling}
task:
  _target_: polymodal.training.tasks.Classification
  monitor: uar
optimizer:
  _target_: torch.optim.AdamW
  lr: {lr}
  weight_decay: {weight_decay}
scheduler:
  _target_: polymodal.training.optimizers.cosine_with_warmup
  warmup: 0.1
trainer:
  max_epochs: {max_epochs}
  gradient_clip_val: 1.0
data:
  batch_s: {batch_s}
seed: {seed}
"""


def write_runs(folder: Path, num_runs: int, *, epochs: int = 20, seed: int = 0) -> None:
    """Writes run folders, the newest a few minutes old and still going on.

    Args:
        folder: The folder of runs.
        num_runs: How many.
        epochs: Length of a journal; 0 writes none.
        seed: Of the random numbers.
    """
    draw = random.Random(seed)
    moment = datetime.now(UTC) - timedelta(minutes=4)
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(num_runs):
        experiment = draw.choice([*EXPERIMENTS])
        options = _options(draw, place, epochs)
        name = f"{moment:%Y%m%d-%H%M%S}-{experiment.replace('/', '-')}-{place:05d}"
        path = folder / name
        path.mkdir()
        best = _best(EXPERIMENTS[experiment], options, draw)
        status = "running" if place < 2 else _status(draw)
        _write(path, experiment, options, best, status, moment, draw, epochs)
        moment -= timedelta(minutes=draw.expovariate(1 / 34))


def _options(draw: random.Random, place: int, epochs: int) -> dict[str, Any]:
    return {
        "lr": draw.choice([1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2]),
        "weight_decay": draw.choice([0.0, 0.01, 0.1]),
        "width": draw.choice([32, 64, 128, 256]),
        "num_layers": draw.choice([1, 2, 3, 4]),
        "num_mels": draw.choice([40, 64, 80]),
        "dropout": draw.choice([0.0, 0.1, 0.2, 0.3, 0.5]),
        "pooling": draw.choice(["attention", "mean", "statistics"]),
        "spec_augment": draw.choice(["true", "false"]),
        "batch_s": draw.choice([60, 120, 240]),
        "max_epochs": max(1, epochs),
        "seed": draw.choice([0, 1, 2, 3, 4]),
    }


def _best(most: float, options: dict[str, Any], draw: random.Random) -> float:
    """What such a model might score: best at a medium learning rate, width and dropout."""
    loss = 0.06 * abs(math.log10(options["lr"]) + 2.9) ** 2
    loss += 0.02 * abs(math.log2(options["width"]) - 7) + 0.25 * abs(options["dropout"] - 0.15)
    loss -= 0.03 * (options["pooling"] == "attention")
    return max(0.25, min(0.95, most - loss + draw.gauss(0, 0.02)))


def _status(draw: random.Random) -> str:
    return draw.choices(["finished", "failed", "interrupted", "killed"], [90, 5, 3, 2])[0]


def _write(
    path: Path,
    experiment: str,
    options: dict[str, Any],
    best: float,
    status: str,
    moment: datetime,
    draw: random.Random,
    epochs: int,
) -> None:
    told = ("lr", "width", "dropout", "pooling")
    ended = status == "finished"
    scores = {}
    for part, shift in (("val", 0.02), ("test", 0.0)) if ended else ():
        uar = round(best + shift + draw.gauss(0, 0.01), 6)
        scores |= {f"{part}/uar": uar, f"{part}/accuracy": round(uar + 0.01, 6)}
        scores |= {f"{part}/macro_f1": round(uar - 0.02, 6), f"{part}/ece": round(0.3 - uar / 4, 6)}
    took = 40 + 400 * draw.random() * options["width"] / 128
    over = status != "running"
    record = RunRecord(
        run_id=path.name,
        name=" ".join(f"{key}={options[key]}" for key in told),
        status=status,
        experiment=experiment,
        seed=options["seed"],
        scores=scores,
        started=moment.isoformat(),
        ended=(moment + timedelta(seconds=took)).isoformat() if over else None,
        duration_s=round(took, 3) if over else None,
        command=["polymodal", "run", f"experiment={experiment}", f"optimizer.lr={options['lr']}"],
        host=host(),
        versions={"python": "3.11.7", "polymodal": "0.1.0", "torch": "2.13.0"},
        code={"commit": f"{draw.getrandbits(160):040x}", "dirty": False},
        data={"rows": 660, "fingerprint": "2f1c9a", "classes": ["anger", "sadness"]},
        notes={"padding_share": 0.04, "peak_memory_mb": 512},
        error="RuntimeError: the loss is not finite at step 120" if status == "failed" else None,
    )
    (path / "run.json").write_text(json.dumps(record.to_dict(), indent=1), encoding="utf-8")
    (path / "config.yaml").write_text(CONFIG.format(**options), encoding="utf-8")
    (path / "overrides.txt").write_text(f"optimizer.lr={options['lr']}\n", encoding="utf-8")
    done = epochs if ended else max(1, epochs // 2) if epochs else 0
    lines = [json.dumps(line) for one in range(done) for line in _epoch(one, best, options, draw)]
    if lines:
        (path / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _epoch(
    epoch: int, best: float, options: dict[str, Any], draw: random.Random
) -> list[dict[str, float]]:
    pace = 1 - math.exp(-(epoch + 1) * (0.08 + 18 * options["lr"] ** 0.8))
    step = (epoch + 1) * 12
    where = {"epoch": epoch, "step": step}
    train = 1.4 - 1.2 * best * pace + draw.gauss(0, 0.015)
    lr = options["lr"] * 0.5 * (1 + math.cos(math.pi * epoch / max(1, options["max_epochs"])))
    uar = 0.25 + (best - 0.25) * pace + draw.gauss(0, 0.012)
    loss = 1.42 - 1.05 * best * pace + 0.3 * max(0.0, pace - 0.9) + draw.gauss(0, 0.02)
    return [
        {**where, "step": step - 3, "train/loss": round(train, 6), "train/lr": lr},
        {**where, "val/loss": round(loss, 6), "val/uar": round(uar, 6)},
    ]
