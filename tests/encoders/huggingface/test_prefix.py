"""The frozen beginning of pretrained encoders: stored, it trains as if it were computed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from polymodal.data.dataset import pad
from polymodal.encoders.extractor import BatchedExtractor, Prefix
from polymodal.encoders.huggingface.speech import PretrainedSpeechEncoder
from polymodal.encoders.huggingface.text import PretrainedTextEncoder
from polymodal.schemas.batch import PaddedSequence

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
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    for name, (kind, options) in {**SPEECH_MODELS, **TEXT_MODELS}.items():
        store(root / name, kind, options)
        if name in TEXT_MODELS:
            tokenizer.save_pretrained(root / name)
        elif name == "whisper":
            extractor = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=1)
            extractor.save_pretrained(root / name)
        else:
            transformers.Wav2Vec2FeatureExtractor().save_pretrained(root / name)
    return {name: root / name for name in (*SPEECH_MODELS, *TEXT_MODELS)}


def speech(folder: Path, **options) -> PretrainedSpeechEncoder:
    options = {"max_length_s": None, "mask_time_fraction": 0.0, **options}
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


def both_ways(build, raws: list) -> list[tuple[PaddedSequence, dict[str, torch.Tensor]]]:
    """A step that computes everything, and one that reads what was stored of its beginning."""
    computing, reading = build(), build()
    extractor = build().prefix("float32")
    assert isinstance(extractor, Prefix)
    assert isinstance(extractor, BatchedExtractor)
    reading.reads_prefix = True
    stored = iter(extractor.extract_batch([raw for raw in raws if raw is not None]))
    transform = computing.transform()
    given = {
        computing: pad([None if raw is None else transform(raw) for raw in raws]),
        reading: pad([None if raw is None else next(stored) for raw in raws]),
    }
    return [step(encoder, inputs) for encoder, inputs in given.items()]


def step(encoder, inputs: PaddedSequence) -> tuple[PaddedSequence, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    output = encoder.train()(inputs)
    if output.values.requires_grad:
        num_frames, size = output.values.shape[1:]
        weights = torch.cos(torch.arange(num_frames)[:, None] + torch.arange(size) ** 2)
        (output.values * weights).sum().backward()
    trained = {
        key: parameter for key, parameter in encoder.named_parameters() if parameter.requires_grad
    }
    return output, {key: parameter.grad for key, parameter in trained.items()}


def check_equal(build, raws: list) -> None:
    (computed, gradients), (read, their_gradients) = both_ways(build, raws)
    width = read.valid_mask.shape[1]  # a last window without a frame is not stored
    assert torch.equal(computed.valid_mask[:, :width], read.valid_mask)
    assert not computed.valid_mask[:, width:].any()
    torch.testing.assert_close(read.values, computed.values[:, :width], atol=2e-6, rtol=1e-5)
    assert gradients.keys() == their_gradients.keys()
    for key, gradient in gradients.items():
        theirs = their_gradients[key]
        assert (gradient is None) == (theirs is None), key
        if gradient is not None:
            scale = float(gradient.abs().max()) + 1e-3
            torch.testing.assert_close(theirs, gradient, atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("layer", ["last", "weighted"])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_stored_convolutions_train_as_computed_ones(folders, name, layer):
    options = {"layer": layer, "mask_time_fraction": 0.3, "mask_feature_fraction": 0.2}
    check_equal(lambda: speech(folders[name], **options), waveforms())


@pytest.mark.parametrize(("freeze", "layer"), [(0, "last"), (2, 3), (1, "weighted")])
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


@pytest.mark.parametrize(
    "options", [{"freeze": 1}, {"mask_time_fraction": 0.2, "layer": "weighted"}]
)
def test_recomputed_activations_change_nothing(folders, options):
    options = {**options, "gradient_checkpointing": True}
    check_equal(lambda: speech(folders["hubert"], **options), waveforms())


@pytest.mark.parametrize("options", [{}, {"freeze": 1}])
@pytest.mark.parametrize("longer", ["windows", "truncate"])
def test_long_utterances_are_read_as_they_are_computed(folders, longer, options):
    """The rest of the longest is too short for a frame, another has whole windows only."""
    long = np.tile(waveforms()[0], 3)
    raws = [long[: 3200 + 24], None, long[:3200], long[:1700], long[:9]]
    options = {"max_length_s": 0.1, "longer": longer, **options}
    check_equal(lambda: speech(folders["hubert"], **options), raws)


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in CONVOLUTIONAL]
    + [(name, {"freeze": 2}) for name in (*PLAIN, "roberta", "bert", "electra", "xlm-roberta")],
)
def test_alone_and_in_a_batch_are_the_same(folders, name, options):
    """Vectors that were stored of many at once, and of one alone, each encoded in both ways."""
    is_text = name in TEXT_MODELS
    encoder = (text if is_text else speech)(folders[name], **options).eval()
    raws = TEXTS if is_text else [raw for raw in waveforms() if raw is not None]
    extractor = encoder.prefix("float32")
    many, alone = extractor.extract_batch(raws), [extractor(raw) for raw in raws]
    encoder.reads_prefix = True
    together = pad([*many, None])
    together.values.masked_fill_(~together.valid_mask[..., None], float("nan"))
    output = encoder(together)
    assert output.present.tolist() == [True] * len(raws) + [False]
    assert torch.isfinite(output.values).all()
    for row, stored in enumerate(alone):
        expected = encoder(pad([stored])).values[0]
        vectors = output.values[row][output.valid_mask[row]]
        torch.testing.assert_close(vectors, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "options"), [("hubert", {}), ("hubert", {"freeze": 1}), ("roberta", {"freeze": 1})]
)
def test_a_batch_without_anything_is_absent(folders, name, options):
    encoder = (text if name == "roberta" else speech)(folders[name], **options)
    encoder.reads_prefix = True
    nothing = torch.zeros(2, 0, encoder.prefix_size)
    output = encoder(PaddedSequence(nothing, torch.zeros(2, 0, dtype=torch.bool)))
    assert output.values.shape == (2, 1, 16)
    assert not output.valid_mask.any()


def test_what_is_read_is_not_computed(folders):
    encoder, ran = speech(folders["hubert"], freeze=1), []
    model = encoder.backbone.model
    for module in (model.feature_extractor, model.encoder.pos_conv_embed, model.encoder.layers[0]):
        module.register_forward_hook(lambda layer, *_: ran.append(type(layer).__name__))
    stored = encoder.prefix("float32")(waveforms()[0])
    assert ran == ["HubertFeatureEncoder", "HubertPositionalConvEmbedding", "HubertEncoderLayer"]
    encoder.reads_prefix = True
    encoder.train()(pad([stored]))
    assert len(ran) == 3


def test_storing_runs_nothing_behind_what_is_stored(folders):
    encoder, ran = speech(folders["wavlm"]), []
    encoder.backbone.model.encoder.register_forward_hook(lambda *_: ran.append("encoder"))
    assert encoder.prefix("float32")(waveforms()[0]).shape == (99, 12)
    assert not ran


@pytest.mark.parametrize("freeze", [0, 2])
@pytest.mark.parametrize("name", ["hubert", "wavlm large", "roberta", "deberta", "electra"])
def test_frozen_parts_have_no_dropout_in_training(folders, name, freeze):
    encoder = (text if name in TEXT_MODELS else speech)(folders[name], freeze=freeze).train()
    backbone = encoder.backbone
    assert backbone.frozen_depth == freeze
    trained = {id(module) for block in backbone.blocks[freeze:] for module in block.modules()}
    norm = backbone._final_norm
    for module in backbone.model.modules():
        assert module.training == (id(module) in trained or module is norm), type(module)
    assert not encoder.eval().backbone.blocks[2].training


def test_the_parts_that_are_trained_keep_their_dropout(folders):
    encoder = speech(folders["hubert"]).train()
    model = encoder.backbone.model
    assert not model.feature_extractor.training
    assert model.feature_projection.dropout.training
    assert model.encoder.layers[0].training
    encoder = speech(folders["hubert"], freeze="none").train()
    assert encoder.backbone.model.feature_extractor.training


def ends(encoder) -> str:
    prefix = encoder.prefix("float32")
    return prefix if isinstance(prefix, str) or prefix is None else f"ends: {prefix.ends}"


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("hubert", {"freeze": "none"}, None),
        ("hubert", {}, "ends: convolutions"),
        ("hubert", {"freeze": 0}, "ends: all before the blocks"),
        ("hubert", {"freeze": 2}, "ends: all before the blocks and the first 2"),
        ("hubert", {"freeze": 2, "layer": "weighted"}, "ends: all before the blocks"),
        ("hubert", {"freeze": 2, "mask_time_fraction": 0.1}, "ends: convolutions"),
        ("hubert", {"freeze": 2, "mask_feature_fraction": 0.1}, "ends: convolutions"),
        ("hubert", {"freeze": "all", "layer": "weighted"}, "ends: all before the blocks"),
        (
            "hubert",
            {"freeze": "all", "mask_time_fraction": 0.1},
            "ends: the whole model, layer last",
        ),
        ("hubert", {"lora": {"r": 2}}, "ends: all before the blocks"),
        (
            "hubert",
            {"lora": {"r": 2, "layers_to_transform": [1, 2], "layers_pattern": "layers"}},
            "ends: all before the blocks and the first 1",
        ),
        ("hubert", {"waveform_augment": {"speed": [0.9, 1.1]}}, "waveform_augment changes"),
        ("hubert", {"waveform_augment": {"speed": None}}, "ends: convolutions"),
        ("wavlm", {"freeze": 2}, "ends: convolutions"),
        ("whisper", {"freeze": "none"}, None),
        ("whisper", {}, "Whisper's blocks also hear the silence"),
        ("whisper", {"freeze": 1}, "Whisper's blocks also hear the silence"),
        ("roberta", {}, None),
        ("roberta", {"freeze": "embeddings"}, "embeddings are looked up"),
        ("roberta", {"freeze": 0}, "embeddings are looked up"),
        ("roberta", {"freeze": 2, "layer": "weighted"}, "embeddings are looked up"),
        ("roberta", {"freeze": 2, "longer": "windows"}, "the windows of a long text overlap"),
        ("roberta", {"freeze": 2}, "ends: all before the blocks and the first 2"),
        ("roberta", {"lora": {"r": 2}}, "embeddings are looked up"),
        ("deberta", {"freeze": 1}, "the blocks of this model need more"),
        ("deberta", {"freeze": "embeddings"}, "embeddings are looked up"),
    ],
)
def test_the_prefix_ends_where_something_is_trained_or_drawn(folders, name, options, expected):
    if "lora" in options:
        pytest.importorskip("peft")
    end = ends((text if name in TEXT_MODELS else speech)(folders[name], **options))
    assert end == expected or (end or "").startswith(str(expected))


def test_adapters_in_upper_blocks_train_on_stored_lower_ones(folders):
    pytest.importorskip("peft")
    lora = {"r": 2, "layers_to_transform": [1], "layers_pattern": "layers", "lora_dropout": 0.2}

    def build():
        torch.manual_seed(2)  # adapters are drawn
        return speech(folders["hubert large"], lora=lora)

    check_equal(build, waveforms())


def test_the_identity_is_all_that_changes_what_is_stored(folders):
    def identity(name="hubert", precision="float32", **options):
        return speech(folders[name], **options).prefix(precision).identity

    assert identity() == identity(layer=2) == identity(mask_time_fraction=0.2)
    assert identity(freeze=1) == identity(freeze=1, layer=2)
    identities = [identity(), identity("hubert large"), identity(freeze=0), identity(freeze=1)]
    identities += [identity(precision="bfloat16"), identity(max_length_s=4.0), identity("wav2vec2")]
    identities += [identity(normalise_waveform=False), identity(longer="truncate")]
    identities += [identity(freeze="all"), identity(freeze="all", layer=2)]
    assert len(set(identities)) == len(identities)
    lengths = [
        text(folders["bert"], freeze=1, max_length=encoder_or_length)
        for encoder_or_length in (5, 6, 6)
    ]
    longer, shorter, same = (
        encoder_or_length.prefix("float32").identity for encoder_or_length in lengths
    )
    assert longer != shorter
    assert shorter == same


@pytest.mark.parametrize(("name", "freeze"), [("hubert large", "convolutions"), ("bert", 1)])
def test_in_bfloat16_it_is_as_close_as_bfloat16_is(folders, name, freeze):
    build, raws = (text, TEXTS) if name == "bert" else (speech, [waveforms()[0], waveforms()[4]])
    computing, reading = (build(folders[name], freeze=freeze).eval() for _ in range(2))
    stored = reading.prefix("bfloat16").extract_batch(raws)
    reading.reads_prefix = True
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        computed = computing(pad([computing.transform()(raw) for raw in raws])).values
        read = reading(pad(stored)).values
    exact = build(folders[name], freeze=freeze).eval()
    exact = exact(pad([exact.transform()(raw) for raw in raws])).values
    # What reading adds is no more than what bfloat16 takes anyway.
    assert (read - computed).abs().max() <= (computed - exact).abs().max() + 1e-3


@pytest.mark.parametrize(("name", "options"), [("hubert", {}), ("roberta", {"freeze": 1})])
def test_checkpoints_are_whole_either_way(folders, name, options):
    build = text if name == "roberta" else speech
    computing, reading = (build(folders[name], **options) for _ in range(2))
    reading.reads_prefix = True
    assert reading.state_dict().keys() == computing.state_dict().keys()
    reading.load_state_dict(computing.state_dict())
