"""The frozen beginning of pretrained encoders: stored, it trains as if it were computed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from polymodal.contracts.sequences import Sequence
from polymodal.data.dataset import pad
from polymodal.encoders.extractor import BatchedExtractor
from polymodal.encoders.pretrained_prefix import PrefixExtractor
from polymodal.encoders.pretrained_speech import PretrainedSpeechEncoder
from polymodal.encoders.pretrained_text import PretrainedTextEncoder

transformers = pytest.importorskip("transformers")

# Dropout everywhere: frozen parts that kept theirs would show.
BLOCKS = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
BLOCKS |= {"intermediate_size": 24}
SPEECH = {**BLOCKS, "conv_dim": (8, 12), "num_feat_extract_layers": 2, "feat_proj_dropout": 0.2}
SPEECH |= {"conv_kernel": (10, 4), "conv_stride": (5, 4), "num_conv_pos_embedding_groups": 2}
SPEECH |= {"num_conv_pos_embeddings": 8, "hidden_dropout": 0.2, "attention_dropout": 0.2}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
WHISPER = {"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "decoder_layers": 1}
WHISPER |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
WHISPER |= {"num_mel_bins": 20, "max_source_positions": 50, "vocab_size": 60, "pad_token_id": 0}
WHISPER |= {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "dropout": 0.2}
SPEECH_MODELS = {
    "hubert": ("Hubert", SPEECH),
    "hubert large": ("Hubert", {**SPEECH, **LARGE}),
    "wav2vec2": ("Wav2Vec2", SPEECH),
    "wav2vec2 large": ("Wav2Vec2", {**SPEECH, **LARGE}),
    "wavlm": ("WavLM", SPEECH),
    "wavlm large": ("WavLM", {**SPEECH, **LARGE}),
    "data2vec": ("Data2VecAudio", {**SPEECH, "num_conv_pos_embeddings": 3}),
    "whisper": ("Whisper", WHISPER),
}
TEXT = {**BLOCKS, "vocab_size": 16, "max_position_embeddings": 20, "pad_token_id": 1}
TEXT |= {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "conv_kernel_size": 3}
TEXT_MODELS = {
    "roberta": ("Roberta", TEXT),
    "bert": ("Bert", TEXT),
    "electra": ("Electra", {**TEXT, "embedding_size": 8}),
    "xlm-roberta": ("XLMRoberta", TEXT),
    "deberta": ("DebertaV2", {**TEXT, **RELATIVE, "position_buckets": 4}),
}
WORDS = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "오늘", "정말", "기뻐요", "the", "day", "was", "good"]
TEXTS = ["오늘 정말 기뻐요 the day was good", "기뻐요", "the day"]
# Whole, one frame, none, shorter than a frame, some.
LENGTHS = (2000, 25, None, 3, 1203)
CONVOLUTIONAL = [name for name in SPEECH_MODELS if name != "whisper"]
PLAIN = [name for name in CONVOLUTIONAL if not name.startswith("wavlm")]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def store(folder: Path, kind: str, options: dict) -> Path:
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**options))
    with torch.no_grad():  # fresh models are so even that little could be told apart
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    root = tmp_path_factory.mktemp("prefixes")
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", 0), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    for name, (kind, options) in {**SPEECH_MODELS, **TEXT_MODELS}.items():
        store(root / name, kind, options)
        if name in TEXT_MODELS:
            words.save_pretrained(root / name)
        elif name == "whisper":
            extractor = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=1)
            extractor.save_pretrained(root / name)
        else:
            transformers.Wav2Vec2FeatureExtractor().save_pretrained(root / name)
    return {name: root / name for name in (*SPEECH_MODELS, *TEXT_MODELS)}


def speech(folder: Path, **options) -> PretrainedSpeechEncoder:
    options = {"max_length_s": None, "mask_time_share": 0.0, **options}
    return PretrainedSpeechEncoder(str(folder), **options)


def text(folder: Path, **options) -> PretrainedTextEncoder:
    return PretrainedTextEncoder(str(folder), **options)


def waveforms() -> list[np.ndarray | None]:
    return [
        None
        if length is None
        else np.random.default_rng(seed).normal(0.1, 0.3, length).astype(np.float32)
        for seed, length in enumerate(LENGTHS)
    ]


def both_ways(build, raws: list) -> list[tuple[Sequence, dict[str, torch.Tensor]]]:
    """A step that computes everything, and one that reads what was stored of its beginning."""
    computing, reading = build(), build()
    extractor = build().prefix("float32")
    assert isinstance(extractor, PrefixExtractor)
    assert isinstance(extractor, BatchedExtractor)
    reading.reads_prefix = True
    stored = iter(extractor.many([raw for raw in raws if raw is not None]))
    transform = computing.transform()
    given = {
        computing: pad([None if raw is None else transform(raw) for raw in raws]),
        reading: pad([None if raw is None else next(stored) for raw in raws]),
    }
    return [step(encoder, inputs) for encoder, inputs in given.items()]


def step(encoder, inputs: Sequence) -> tuple[Sequence, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    output = encoder.train()(inputs)
    if output.values.requires_grad:
        weights = torch.linspace(-1, 1, output.values.numel()).reshape(output.values.shape)
        (output.values * weights).sum().backward()
    trained = {key: one for key, one in encoder.named_parameters() if one.requires_grad}
    return output, {key: one.grad for key, one in trained.items()}


def check_equal(build, raws: list) -> None:
    (computed, gradients), (read, their_gradients) = both_ways(build, raws)
    assert torch.equal(computed.valid_mask, read.valid_mask)
    torch.testing.assert_close(read.values, computed.values, atol=2e-6, rtol=1e-5)
    assert gradients.keys() == their_gradients.keys()
    for key, gradient in gradients.items():
        theirs = their_gradients[key]
        assert (gradient is None) == (theirs is None), key
        if gradient is not None:
            scale = float(gradient.abs().max()) + 1e-3
            torch.testing.assert_close(theirs, gradient, atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("layer", ["last", 2, "weighted"])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_stored_convolutions_train_as_computed_ones(folders, name, layer):
    options = {"layer": layer, "mask_time_share": 0.3, "mask_feature_share": 0.2}
    check_equal(lambda: speech(folders[name], **options), waveforms())


@pytest.mark.parametrize(("freeze", "layer"), [(0, "last"), (1, "last"), (2, 3), (1, "weighted")])
@pytest.mark.parametrize("name", PLAIN)
def test_stored_blocks_of_speech_train_as_computed_ones(folders, name, freeze, layer):
    check_equal(lambda: speech(folders[name], freeze=freeze, layer=layer), waveforms())


@pytest.mark.parametrize("freeze", [1, 2])
@pytest.mark.parametrize("name", ["roberta", "bert", "electra", "xlm-roberta"])
def test_stored_blocks_of_text_train_as_computed_ones(folders, name, freeze):
    check_equal(lambda: text(folders[name], freeze=freeze), [TEXTS[0], None, *TEXTS[1:]])


@pytest.mark.parametrize("name", ["hubert large", "wavlm", "whisper", "roberta", "deberta"])
def test_a_model_that_is_wholly_frozen_is_stored_whole(folders, name):
    build, raws = (text, TEXTS) if name in TEXT_MODELS else (speech, waveforms())
    check_equal(lambda: build(folders[name], freeze="all"), raws)
