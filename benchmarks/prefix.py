"""Fine-tuning HuBERT above frozen convolutions: computed in each step, or read from the store.

Both against the first version's way: float32, eager attention, everything padded to 5 s.
"""

import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import device
from benchmarks.rows import Row, row
from polymodal.data.dataset import pad
from polymodal.encoders.extractor import Prefix
from polymodal.encoders.huggingface.speech import PretrainedSpeechEncoder
from polymodal.features.extract import extract_all
from polymodal.features.reader import FeatureReader
from polymodal.features.store import FeatureStore
from polymodal.schemas import batch as sequences

RATE_HZ, LENGTH_S, NUM_CLASSES, LEARNING_RATE = 16_000, 5.0, 4, 1e-5


@dataclass(frozen=True)
class Size:
    """How large the task is. The convolutions are HuBERT's own: seven layers, 512 wide.

    Args:
        name: What the model is called in the result.
        model: Options of HuBERT.
        batch: Utterances of a step.
        num_rounds: Number of times that each way is timed, in turn, as the machine may be shared.
        num_steps: Steps of a round.
        varied: Whether lengths are log-normal with a median of 3 s, cut at 5 s; otherwise all 5 s.
    """

    name: str
    model: Mapping[str, Any]
    batch: int
    num_rounds: int
    num_steps: int
    varied: bool = False


NARROW: Mapping[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "num_conv_pos_embedding_groups": 8,
}
LARGE: Mapping[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
}
ON_CPU = (
    Size("two narrow blocks (128)", NARROW, batch=8, num_rounds=5, num_steps=2),
    Size("two narrow blocks, log-normal", NARROW, 8, num_rounds=5, num_steps=4, varied=True),
    Size("HuBERT base", {}, batch=4, num_rounds=4, num_steps=1),
)
ON_CUDA = (Size("HuBERT large", LARGE, batch=24, num_rounds=5, num_steps=20),)
TINY = {**LARGE, **NARROW, "hidden_size": 32, "intermediate_size": 64, "conv_dim": (16,) * 7}
REHEARSED = (Size("tiny", TINY, batch=2, num_rounds=1, num_steps=2, varied=True),)
# On one H100; what computes everything, and what reads the convolutions from the store.
GOALS = (400.0, 500.0)


def prefix() -> list[Row]:
    """Utterances trained on a second: the first version's steps, ours, and ours from the store."""
    on_cuda = device.large()
    if not on_cuda:
        torch.set_num_threads(1)  # so that seconds of the processor are those of a step
    sizes = REHEARSED if device.rehearsed else ON_CUDA if on_cuda else ON_CPU
    rows = [line for size in sizes for line in _measured(size)]
    if on_cuda:
        return rows
    missing = [
        row(f"HuBERT large, {way}, on CUDA: not measured", 0.0, goal, "utt/s", more_is_better=True)
        for way, goal in zip(("computed", "read"), GOALS, strict=True)
    ]
    return [*rows, *({**line, "ours": None, "ratio": None} for line in missing)]


def _measured(size: Size) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model, waveforms = _model(root, size.model), _waveforms(size)
        stored, filled_s = _store(root, model, waveforms)
        ways: Mapping[str, Callable[[], float]] = {
            "first": _first(model, waveforms, size.batch),
            "computed": _ours(model, waveforms, size.batch),
            "read": _ours(model, [*stored.values()], size.batch, reads=True),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(1 + size.num_rounds):
            for name, steps in ways.items():
                took_s = steps()
                if number:  # the first is the warm-up
                    seconds[name].append(took_s)
    num = len(waveforms)
    first, computed, read = (num / min(one) for one in seconds.values())
    goals = GOALS if device.large() else (round(first, 2), round(computed, 2))
    lines = [
        row(f"{size.name}, convolutions {way}", speed, goal, "utt/s", more_is_better=True)
        for way, speed, goal in zip(("computed", "read"), (computed, read), goals, strict=True)
    ]
    epochs = filled_s * computed / num / (1 - computed / read) if read > computed else 0.0
    return [
        {**lines[0], "peer": round(first, 3)},
        {**lines[1], "peer": round(computed, 3)},
        row(
            f"{size.name}: computed over the first", computed / first, 1.0, "x", more_is_better=True
        ),
        row(f"{size.name}: read over computed", read / computed, 1.0, "x", more_is_better=True),
        row(f"{size.name}: read over the first", read / first, 1.0, "x", more_is_better=True),
        row(f"{size.name}: the store is paid for after", epochs, 3.0, "epochs"),
        row(f"{size.name}: room of an utterance", stored.num_bytes / num / 1e3, 600.0, "kB"),
    ]


def _model(root: Path, options: Mapping[str, Any]) -> str:
    transformers = importlib.import_module("transformers")
    torch.manual_seed(0)
    config = transformers.HubertConfig(**options)
    transformers.HubertModel(config).save_pretrained(root / "model")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(root / "model")
    return str(root / "model")


def _waveforms(size: Size) -> list[np.ndarray]:
    """Noise, in batches of like length."""
    random = np.random.default_rng(0)
    num = size.batch * size.num_steps
    seconds = np.sort(random.lognormal(np.log(3), 0.6, num)) if size.varied else np.full(num, 5.0)
    lengths = (np.minimum(seconds, LENGTH_S) * RATE_HZ).astype(int)
    return [random.normal(0, 0.1, length).astype(np.float32) for length in lengths]


def _store(root: Path, model: str, waveforms: Sequence[np.ndarray]) -> tuple[FeatureReader, float]:
    """What the convolutions put out, and the seconds to fill the store with it."""
    extractor = PretrainedSpeechEncoder(model).prefix(device.precision())
    assert isinstance(extractor, Prefix)
    extractor(waveforms[0])  # what is loaded once a process
    rows = [(str(number), partial(np.array, one)) for number, one in enumerate(waveforms)]
    began_s = device.seconds()
    stored = extract_all(rows, extractor, FeatureStore(root / "store"), num_workers=1)
    return stored, device.seconds() - began_s


def _ours(
    model: str, arrays: Sequence[np.ndarray], batch: int, *, reads: bool = False
) -> Callable[[], float]:
    """Steps of our encoder, with what it hides in training, in bfloat16 on CUDA."""
    encoder = PretrainedSpeechEncoder(model)
    encoder.reads_prefix = reads
    transform = encoder.transform()

    def values(part: Sequence[np.ndarray], where: str) -> Tensor:
        padded = pad(part if reads else [transform(one) for one in part]).to(torch.device(where))
        encoded: sequences.PaddedSequence = encoder(padded)
        return encoded.values

    half = device.precision() == "bfloat16"
    return _steps(encoder, encoder.feature_size, values, arrays, batch, half=half)


def _first(model: str, waveforms: Sequence[np.ndarray], batch: int) -> Callable[[], float]:
    """The first version's steps: float32, eager attention, all padded to 5 s."""
    transformers = importlib.import_module("transformers")
    transformers.utils.logging.set_verbosity_error()
    hubert = transformers.HubertModel.from_pretrained(
        model, attn_implementation="eager", dtype=torch.float32, layerdrop=0.0, mask_time_prob=0.0
    )
    hubert.feature_extractor._freeze_parameters()

    def values(part: Sequence[np.ndarray], where: str) -> Tensor:
        padded = torch.zeros(len(part), int(LENGTH_S * RATE_HZ))
        mask = torch.zeros_like(padded).long()
        for place, one in enumerate(part):
            padded[place, : len(one)], mask[place, : len(one)] = torch.from_numpy(one), 1
        last: Tensor = hubert(padded.to(where), attention_mask=mask.to(where))[0]
        return last

    size = hubert.config.hidden_size
    return _steps(hubert, size, values, waveforms, batch, half=False)


def _steps(
    encoder: nn.Module,
    feature_size: int,
    values: Callable[[Sequence[np.ndarray], str], Tensor],
    arrays: Sequence[np.ndarray],
    batch: int,
    *,
    half: bool,
) -> Callable[[], float]:
    """Returns what trains one round, a linear head on the mean over time, and tells the seconds."""
    where = device.name()
    head = nn.Linear(feature_size, NUM_CLASSES).to(where)
    encoder.to(where).train()
    trained = [one for one in (*encoder.parameters(), *head.parameters()) if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, fused=device.large())
    targets = torch.arange(batch, device=where) % NUM_CLASSES

    def round_s() -> float:
        began_s = device.seconds()
        for begin in range(0, len(arrays), batch):
            with torch.autocast(where, torch.bfloat16, enabled=half):
                logits = head(values(arrays[begin : begin + batch], where).mean(dim=1))
            loss = functional.cross_entropy(logits.float(), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        device.wait()
        return device.seconds() - began_s

    return round_s
