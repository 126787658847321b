"""Frozen speech and text models over a corpus: stored once, or in every epoch as at first."""

import importlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks import device
from benchmarks.rows import Row, row
from polymodal.data.audio import AudioReader
from polymodal.encoders.huggingface.speech import PretrainedSpeechExtractor
from polymodal.encoders.huggingface.text import PretrainedTextExtractor
from polymodal.features.extract import extract_all
from polymodal.features.store import FeatureStore
from polymodal.schemas.manifest import Utterance

RATE_HZ, LONGEST_S, NUM_TOKENS = 16_000, 5.0, 249  # what the first version cut and padded all to
NUM_EPOCHS, NUM_ROUNDS, WORDS_A_SECOND = 12, 4, 3.0
WORDS = [f"word{number}" for number in range(500)]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


@dataclass(frozen=True)
class Size:
    """How large the task is.

    Args:
        num_rows: Number of utterances.
        num_by_the_first: How many of them the first version's way is timed on.
        speech: Options of HuBERT.
        text: Options of RoBERTa.
    """

    num_rows: int
    num_by_the_first: int
    speech: Mapping[str, Any]
    text: Mapping[str, Any]


SMALL = Size(
    640,
    160,
    {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 4}
    | {"intermediate_size": 768, "conv_dim": (128,) * 7},
    {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 4}
    | {"intermediate_size": 768},
)
LARGE = Size(
    4000,
    60,
    {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    | {"intermediate_size": 4096, "feat_extract_norm": "layer", "conv_bias": True}
    | {"do_stable_layer_norm": True},
    {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    | {"intermediate_size": 4096},
)
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
REHEARSED = Size(
    16,
    8,
    {**LARGE.speech, **TINY, "intermediate_size": 64, "conv_dim": (16,) * 7},
    {**LARGE.text, **TINY, "intermediate_size": 64},
)


def extraction() -> list[Row]:
    """Utterances a second through frozen HuBERT and RoBERTa, against one by one in every epoch."""
    if device.rehearsed:
        return _measured(REHEARSED, "tiny models")
    on_cuda = device.large()
    rows = _measured(SMALL, "small models") if not on_cuda else _measured(LARGE, "large models")
    goal = row("large models on CUDA: not measured", 0.0, 1000, "utterances/s", more_is_better=True)
    missing = {**goal, "ours": None, "ratio": None}
    return rows if on_cuda else [*rows, missing]


def _measured(size: Size, name: str) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        utterances = _corpus(root, size.num_rows)
        models = {"speech": _speech(root, size.speech), "text": _text(root, size.text)}
        first = _First(root, models)
        first.seconds(utterances[:4])  # what is loaded once a process
        _ours(root, models, utterances[:4], "warm")
        first_s = filled_s = read_s = num_first = 0.0
        for number in range(NUM_ROUNDS):  # in turn, as the machine may be shared
            part = utterances[number::NUM_ROUNDS]
            some = part[: size.num_by_the_first // NUM_ROUNDS]
            first_s += first.seconds(some)
            num_first += len(some)
            one_filled_s, one_read_s = _ours(root, models, part, f"store{number}")
            filled_s, read_s = filled_s + one_filled_s, read_s + one_read_s
    num, first_s = len(utterances), first_s / num_first
    epochs_s = filled_s + NUM_EPOCHS * read_s
    goal = 1000.0 if device.large() else round(1.3 / first_s, 2)
    one = row(f"{name}, one pass", num / filled_s, goal, "utterances/s", more_is_better=True)
    return [
        {**one, "peer": round(1 / first_s, 2)},
        row("one pass: times as fast", first_s * num / filled_s, 1.3, "x", more_is_better=True),
        row(
            f"{NUM_EPOCHS} epochs: times as fast as {NUM_EPOCHS} such passes",
            NUM_EPOCHS * first_s * num / epochs_s,
            15,
            "x",
            more_is_better=True,
        ),
        row("one epoch read from the store", read_s / num * 1e3, 1.0, "ms an utterance"),
    ]


def _corpus(root: Path, num_rows: int) -> list[Utterance]:
    """Noise whose lengths are log-normal with a median of 3 s, and words at the pace of speech."""
    random = np.random.default_rng(0)
    utterances = []
    for number, length_s in enumerate(random.lognormal(np.log(3), 0.6, num_rows)):
        audio = f"{number}.wav"
        samples = random.normal(0, 0.1, int(length_s * RATE_HZ)).astype(np.float32)
        soundfile.write(root / audio, samples, RATE_HZ)
        words = random.choice(WORDS, max(1, round(length_s * WORDS_A_SECOND)))
        utterances.append(Utterance(f"u{number}", "s", audio=audio, text=" ".join(words)))
    return utterances


def _speech(root: Path, options: Mapping[str, Any]) -> Path:
    transformers = _transformers()
    torch.manual_seed(0)
    model = transformers.HubertModel(transformers.HubertConfig(**options))
    model.save_pretrained(root / "speech")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(root / "speech")
    return root / "speech"


def _text(root: Path, options: Mapping[str, Any]) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    transformers = _transformers()
    size = {"vocab_size": len(SPECIAL + WORDS), "max_position_embeddings": 514}
    config = transformers.RobertaConfig(**size, **options, pad_token_id=1)
    transformers.RobertaModel(config, add_pooling_layer=False).save_pretrained(root / "text")
    known = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, ends)
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    made.save_pretrained(root / "text")
    return root / "text"


def _transformers() -> Any:
    return importlib.import_module("transformers")  # its own types know no dictionary of options


class _First:
    """The first version's way: both models, one utterance, float32, eager, padded to the most.

    Args:
        root: Folder of the corpus.
        models: Folders of the models.
    """

    def __init__(self, root: Path, models: Mapping[str, Path]) -> None:
        transformers = _transformers()
        self.device = device.name()
        options = {"attn_implementation": "eager", "dtype": torch.float32}
        self.speech, self.text = (
            model.from_pretrained(models[name], **options, **more).eval().to(self.device)
            for name, model, more in (
                ("speech", transformers.HubertModel, {}),
                ("text", transformers.RobertaModel, {"add_pooling_layer": False}),
            )
        )
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(models["text"])
        self.read = AudioReader(root)

    @torch.no_grad()
    def seconds(self, utterances: Sequence[Utterance]) -> float:
        began_s = time.perf_counter()
        for one in utterances:
            waveform = self.read(one)
            assert waveform is not None
            num = int(LONGEST_S * RATE_HZ)
            padded = torch.zeros(1, num)
            padded[0, : len(waveform)] = torch.from_numpy(waveform[:num])
            mask = (torch.arange(num) < len(waveform))[None].long()
            self.speech(padded.to(self.device), attention_mask=mask.to(self.device))
            options = {"padding": "max_length", "truncation": True, "max_length": NUM_TOKENS}
            tokens = self.tokenizer(one.text, return_tensors="pt", **options).to(self.device)
            last = self.text(**tokens).last_hidden_state.cpu()
            if self.device == "cuda":
                torch.cuda.empty_cache()
            del last
        return time.perf_counter() - began_s


def _ours(
    root: Path, models: Mapping[str, Path], utterances: Sequence[Utterance], name: str
) -> tuple[float, float]:
    """Seconds to fill the store (models loaded, everything read), and to read it in one epoch."""
    read = AudioReader(root)
    speech = PretrainedSpeechExtractor(
        str(models["speech"]),
        pooling="none",
        max_length_s=LONGEST_S,
        longer="truncate",
        precision=device.precision(),
    )
    text = PretrainedTextExtractor(
        str(models["text"]),
        pooling="none",
        max_length=NUM_TOKENS,
        precision=device.precision(),
    )
    sources = {
        speech: [(one.utterance_id, partial(read, one)) for one in utterances],
        text: [(one.utterance_id, partial(str, one.text)) for one in utterances],
    }
    began_s = time.perf_counter()
    stored = [
        extract_all(rows, extractor, FeatureStore(root / name), num_workers=2)
        for extractor, rows in sources.items()
    ]
    filled_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    for features in stored:
        for values in features.values():
            torch.from_numpy(np.array(values))
    return filled_s, time.perf_counter() - began_s
