"""Pretrained speech encoders, on tiny random models of the real classes."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from polymodal.data.dataset import pad
from polymodal.encoders.extractor import BatchedExtractor
from polymodal.encoders.huggingface.inputs import MaskedGroupNorm
from polymodal.encoders.huggingface.speech import (
    PretrainedSpeechEmbeddings,
    PretrainedSpeechEncoder,
    PretrainedSpeechExtractor,
)
from polymodal.errors import CheckpointError, ConfigError, DataError
from polymodal.layers.specaugment import sample_mask_spans
from polymodal.schemas.batch import PaddedSequence

transformers = pytest.importorskip("transformers")

COMMON = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
COMMON |= {"intermediate_size": 24, "conv_dim": (8, 8, 8), "num_feat_extract_layers": 3}
COMMON |= {"conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2), "num_conv_pos_embedding_groups": 2}
COMMON |= {"num_conv_pos_embeddings": 8, "layerdrop": 0.5, "feat_proj_dropout": 0.0}
COMMON |= {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
WHISPER = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "decoder_layers": 1}
WHISPER |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
WHISPER |= {"num_mel_bins": 20, "max_source_positions": 50, "vocab_size": 60, "pad_token_id": 0}
WHISPER |= {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
MODELS = {
    "hubert": ("Hubert", COMMON),
    "hubert large": ("Hubert", {**COMMON, **LARGE}),
    "wav2vec2": ("Wav2Vec2", COMMON),
    "wav2vec2 large": ("Wav2Vec2", {**COMMON, **LARGE, "add_adapter": True}),
    "wavlm": ("WavLM", COMMON),
    "wavlm large": ("WavLM", {**COMMON, **LARGE}),
    "data2vec": ("Data2VecAudio", {**COMMON, "num_conv_pos_embeddings": 3}),
    "whisper": ("Whisper", WHISPER),
}
# One frame of the tiny models is 30 samples wide, and they follow every 20 samples.
SHORTEST, STEP = 30, 20


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def store(folder: Path, kind: str, options: dict, **settings) -> Path:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**options)
    model = getattr(transformers, f"{kind}Model")(config)
    with torch.no_grad():  # fresh models are so even that little could be told apart
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    if kind == "Whisper":
        whisper = {"feature_size": 20, "chunk_length": 1}
        transformers.WhisperFeatureExtractor(**whisper).save_pretrained(folder)
    else:
        transformers.Wav2Vec2FeatureExtractor(**settings).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("speech")
    return {name: store(root / name, *of) for name, of in MODELS.items()}


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.1, 0.3, num_samples).astype(np.float32)


def build(folder: Path, **options) -> PretrainedSpeechEncoder:
    return PretrainedSpeechEncoder(str(folder), max_length_s=None, **options)


def batch(encoder, *lengths: int) -> PaddedSequence:
    arrays = [encoder.transform()(noise(length, seed)) for seed, length in enumerate(lengths)]
    return pad(arrays)


@pytest.mark.parametrize("garbage", [0.0, float("nan")])
@pytest.mark.parametrize("name", MODELS)
def test_alone_in_a_batch_and_beside_garbage_are_the_same(folders, name, garbage):
    encoder = build(folders[name]).eval()
    # Full, absent, one sample, one frame, two frames, most.
    together = batch(encoder, 2000, 0, 1, SHORTEST, SHORTEST + STEP, 1203)
    together.values.masked_fill_(~together.valid_mask, garbage)
    output = encoder(together)
    assert output.values.shape == (*output.valid_mask.shape, encoder.feature_size)
    assert output.present.tolist() == [True, False, True, True, True, True]
    assert torch.isfinite(output.values).all()
    for row, length in enumerate(together.num_valid.tolist()):
        cut = slice(row, row + 1), slice(0, length)
        alone = encoder(PaddedSequence(together.values[cut], together.valid_mask[cut]))
        torch.testing.assert_close(
            output.values[row][output.valid_mask[row]],
            alone.values[0][alone.valid_mask[0]],
            atol=1e-4,
            rtol=1e-4,
        )


@pytest.mark.parametrize("name", [name for name in MODELS if name != "whisper"])
def test_frames_are_counted_as_the_model_counts_them(folders, name):
    encoder = build(folders[name]).eval()
    lengths = [SHORTEST, SHORTEST + STEP - 1, SHORTEST + STEP, 999]
    assert encoder(batch(encoder, *lengths)).num_valid.tolist() == [1, 1, 2, 49]
    assert encoder.frame_rate_hz == 16000 / STEP


@pytest.mark.parametrize("name", MODELS)
def test_one_utterance_gives_what_transformers_gives(folders, name):
    encoder = build(folders[name]).eval()
    waveform = noise(1203)
    kind = getattr(transformers, f"{MODELS[name][0]}Model")
    model = kind.from_pretrained(folders[name]).eval()
    if name == "whisper":
        extractor = transformers.WhisperFeatureExtractor.from_pretrained(folders[name])
        inputs = extractor(waveform, sampling_rate=16000, return_tensors="pt")
        expected = model.encoder(**inputs).last_hidden_state[:, :4]  # 1203 of 320 samples each
    else:
        extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folders[name])
        inputs = extractor(waveform, sampling_rate=16000, return_tensors="pt")["input_values"]
        model.adapter = None
        expected = model(inputs).last_hidden_state
    output = encoder(pad([encoder.transform()(waveform)]))
    torch.testing.assert_close(output.values, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "whisper"])
def test_a_numbered_layer_is_that_of_transformers(folders, name):
    encoder = build(folders[name], layer=1).eval()
    model = getattr(transformers, f"{MODELS[name][0]}Model").from_pretrained(folders[name]).eval()
    inputs = batch(encoder, 1203)
    expected = model(inputs.values, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(encoder(inputs).values, expected, atol=1e-4, rtol=1e-4)
    assert len(encoder.backbone.model.encoder.layers) == 1  # nothing is computed in vain


def change_last_block(folder: Path, copy: Path) -> Path:
    from safetensors.torch import load_file, save_file

    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    changed = [key for key in weights if "encoder.layers.1." in key and key.endswith("weight")]
    assert changed
    weights |= {key: weights[key] + torch.randn_like(weights[key]) for key in changed}
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    return copy


@pytest.mark.parametrize("name", MODELS)
def test_the_last_layer_is_the_last(folders, name, tmp_path):
    changed = change_last_block(folders[name], tmp_path / "changed")
    for layer, moves in (("last", True), (2, True), (1, False), ("weighted", True)):
        before, after = (build(folder, layer=layer).eval() for folder in (folders[name], changed))
        inputs = batch(before, 1203)
        difference = (before(inputs).values - after(inputs).values).abs().max()
        assert (difference > 1e-2) == moves, layer
    assert build(folders[name]).revision != build(changed).revision


@pytest.mark.parametrize("layer", ["last", 1, "weighted"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter_that_is_trained(folders, name, layer):
    encoder = build(folders[name], layer=layer, freeze="none", mask_time_fraction=0.2)
    output = encoder(batch(encoder, 1500, 0, 700))
    (output.values * torch.randn_like(output.values)).sum().backward()
    for key, parameter in encoder.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize(
    ("freeze", "frozen", "trained"),
    [
        ("convolutions", "feature_extractor", "encoder.layers.0"),
        (0, "feature_projection", "encoder.layers.0"),
        (1, "encoder.layers.0", "encoder.layers.1"),
        ("all", "encoder.layers.1", None),
    ],
)
def test_freezing_leaves_no_gradient(folders, freeze, frozen, trained):
    encoder = build(folders["hubert large"], freeze=freeze)
    output = encoder(batch(encoder, 1500))
    if trained:
        output.values.square().sum().backward()
    assert output.values.requires_grad == bool(trained)
    for key, parameter in encoder.named_parameters():
        if frozen in key:
            assert parameter.grad is None, key
        if trained and trained in key:
            assert parameter.grad is not None, key


@pytest.mark.parametrize("options", [{}, {"freeze": "none", "lora": {"r": 2}}])
def test_frozen_convolutions_keep_no_graph(folders, options):
    if "lora" in options:
        pytest.importorskip("peft")
    encoder, graphs = build(folders["hubert"], **options), []
    encoder.backbone.model.feature_extractor.register_forward_hook(
        lambda module, inputs, output: graphs.append(output.requires_grad)
    )
    encoder(batch(encoder, 1500))
    assert graphs == [False]


def test_models_are_in_training_mode_unless_they_are_frozen(folders):
    assert build(folders["hubert"]).backbone.model.training
    frozen = build(folders["hubert"], freeze="all").train()
    assert frozen.training
    assert not frozen.backbone.model.training


@pytest.mark.parametrize("name", ["hubert", "whisper"])
def test_the_weighted_sum_learns_which_layer_is_asked_for(folders, name):
    encoder = build(folders[name], layer="weighted", freeze="all")
    inputs, expected = batch(encoder, 1203), build(folders[name], layer=1).eval()
    target = expected(inputs).values.detach()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.3)
    for _ in range(30):
        optimizer.zero_grad()
        (encoder(inputs).values - target).square().mean().backward()
        optimizer.step()
    assert encoder.backbone.mixture.logits.softmax(0).argmax() == 1


@pytest.mark.parametrize("name", MODELS)
def test_lora_trains_nothing_but_its_adapters(folders, name):
    pytest.importorskip("peft")
    encoder = build(folders[name], lora={"r": 2, "lora_dropout": 0.0})
    inputs = batch(encoder, 1203)
    trained = {
        key: parameter for key, parameter in encoder.named_parameters() if parameter.requires_grad
    }
    assert trained
    assert all("lora_" in key for key in trained)
    encoder.eval()
    before = encoder(inputs).values.detach()
    before.requires_grad_(False)
    encoder(inputs).values.square().sum().backward()
    touched = {key for key, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert touched == set(trained)
    assert all(
        parameter.grad.abs().sum() > 0 for key, parameter in trained.items() if "lora_B" in key
    )
    torch.optim.SGD(trained.values(), lr=0.1).step()
    assert not torch.allclose(before, encoder(inputs).values)


def test_adapters_that_would_do_nothing_are_refused(folders):
    pytest.importorskip("peft")
    with pytest.raises(ConfigError, match="past an adapter"):
        build(folders["wavlm"], lora={"target_modules": ["q_proj"]})
    with pytest.raises(ConfigError, match="freeze='all' with lora"):
        build(folders["hubert"], lora={"r": 2}, freeze="all")
    with pytest.raises(ConfigError, match="LoraConfig"):
        build(folders["hubert"], lora={"rank": 2})


@pytest.mark.parametrize("name", ["hubert", "wavlm", "whisper"])
def test_recomputed_activations_give_the_same_gradients(folders, name):
    gradients = []
    for recomputed in (False, True):
        torch.manual_seed(0)
        encoder = build(
            folders[name],
            freeze="none",
            gradient_checkpointing=recomputed,
            mask_time_fraction=0.0,
        ).train()
        torch.manual_seed(1)
        output = encoder(batch(encoder, 1500, 700)).values
        encoder(batch(encoder, 300, 900))  # another batch comes in between
        output.square().sum().backward()
        gradients.append([first.grad for first in encoder.parameters() if first.grad is not None])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-3)


def test_windows_are_the_stretches_encoded_one_by_one(folders):
    encoder = PretrainedSpeechEncoder(
        str(folders["hubert"]), max_length_s=0.1, normalise_waveform=False
    ).eval()
    waveform = noise(1600 + 1600 + SHORTEST - 1)  # the rest is too short for a frame
    together = pad([waveform, noise(500, 1), None, noise(1)])
    output = encoder(together)
    windows = [encoder(pad([waveform[begin : begin + 1600]])).values[0] for begin in (0, 1600)]
    assert output.num_valid.tolist() == [2 * len(windows[0]), 24, 0, 1]
    torch.testing.assert_close(
        output.values[0][output.valid_mask[0]], torch.cat(windows), atol=1e-4, rtol=1e-4
    )
    nobody = PaddedSequence(together.values, torch.zeros_like(together.valid_mask))
    assert not encoder(nobody).valid_mask.any()


@pytest.mark.parametrize("name", ["hubert", "data2vec", "whisper"])
def test_a_batch_without_a_sample_is_absent(folders, name):
    encoder = build(folders[name]).eval()
    output = encoder(PaddedSequence(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)))
    assert not output.valid_mask.any()
    assert output.values.shape == (2, 1, 16)


def test_a_long_utterance_is_cut_or_refused_where_that_is_asked_for(folders):
    folder, long = str(folders["hubert"]), noise(2000)
    cut = PretrainedSpeechEncoder(folder, max_length_s=0.1, longer="truncate").transform()
    np.testing.assert_array_equal(cut(long), cut(long[:1600]))
    refusing = PretrainedSpeechEncoder(folder, max_length_s=0.1, longer="refuse").transform()
    with pytest.raises(DataError, match=r"max_length_s"):
        refusing(long)
    assert refusing(long[:1600]).shape == (1600,)


def test_each_waveform_is_normalised_by_itself_as_its_feature_extractor_says(folders, tmp_path):
    prepared = build(folders["hubert"]).transform()(noise(700))
    assert prepared.mean() == pytest.approx(0, abs=1e-6)
    assert prepared.var() == pytest.approx(1, abs=1e-5)
    plain = store(tmp_path / "plain", "Hubert", COMMON, do_normalize=False)
    np.testing.assert_array_equal(build(plain).transform()(noise(700)), noise(700))
    assert build(plain, normalise_waveform=True).transform()(noise(700)).std() > 0.9
    assert build(plain).transform()(np.zeros(0)) is None
    pickle.loads(pickle.dumps(build(plain).transform()))


def test_frames_are_hidden_in_training_only_and_by_the_seed_of_torch(tmp_path):
    folder = store(tmp_path / "model", "Hubert", {**COMMON, "apply_spec_augment": False})
    encoder = build(folder, mask_time_fraction=0.5, mask_span_s=0.0125)
    inputs = batch(encoder, 1203)
    plain = encoder.eval()(inputs).values
    encoder.train()
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(encoder(inputs).values)
    assert not torch.allclose(outputs[0], plain, atol=1e-3)
    torch.testing.assert_close(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2], atol=1e-3)
    torch.testing.assert_close(encoder.eval()(inputs).values, plain)


def test_a_vector_for_hidden_frames_that_was_not_stored_is_zero(tmp_path):
    folder = store(tmp_path / "model", "Hubert", {**COMMON, "mask_time_prob": 0.0})
    assert (build(folder).backbone.model.masked_spec_embed == 0).all()
    assert not hasattr(build(folder, mask_time_fraction=0.0).backbone.model, "masked_spec_embed")


def test_hidden_stretches_have_their_length_and_share():
    torch.manual_seed(0)
    real = torch.ones(50, 400, dtype=torch.bool)
    real[:, 300:] = False
    hidden = sample_mask_spans(real, 0.2, 10)
    assert not hidden[:, 300:].any()
    assert hidden[:, :300].float().mean() == pytest.approx(1 - (1 - 0.02) ** 10, abs=0.03)
    assert not sample_mask_spans(real, 0.0, 10).any()


def test_the_group_norm_sees_real_frames_only():
    """In the way for a CPU, and in that for a GPU and for convolutions that are trained."""
    norm = torch.nn.GroupNorm(3, 3)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    masked = MaskedGroupNorm(norm, kernel=1, stride=1)
    masked.lengths = torch.tensor([7, 4, 1])
    frames = torch.randn(3, 3, 7) + 5.0
    for output in (masked(frames), masked.normalise_batch(frames, masked.lengths)):
        torch.testing.assert_close(output[:1], norm(frames[:1]))
        torch.testing.assert_close(output[1:2, :, :4], norm(frames[1:2, :, :4]))
    torch.testing.assert_close(masked(frames)[2, :, 0], norm.bias.detach(), atol=1e-3, rtol=0)
    frames.requires_grad_(True)
    masked(frames)[1, :, :4].square().sum().backward()
    assert (frames.grad[1, :, :4] != 0).any()
    assert not frames.grad[1, :, 4:].any()
    assert masked(frames.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 0}, "0 would be the input"),
        ({"layer": 3}, "from 1 to 2"),
        ({"layer": "lst"}, "did you mean 'last'"),
        ({"freeze": 2}, "from 0 to 1"),
        ({"freeze": "convolution"}, "did you mean 'convolutions'"),
        ({"mask_time_fraction": 1.0}, "mask_time_fraction=1.0"),
        ({"longer": "window"}, "did you mean 'windows'"),
        ({"max_length_s": 0.0}, "max_length_s=0.0"),
        ({"revision": "main"}, "is a folder, and revision=main"),
        ({"freeze": "all", "gradient_checkpointing": True}, "gradient_checkpointing"),
    ],
)
def test_nonsense_is_refused(folders, options, message):
    with pytest.raises(ConfigError, match=message):
        PretrainedSpeechEncoder(str(folders["hubert"]), **options)


def test_whisper_hears_no_more_than_its_window(folders):
    with pytest.raises(ConfigError, match=r"from 0\.1 to 1"):
        PretrainedSpeechEncoder(str(folders["whisper"]), max_length_s=30.0)
    encoder = build(folders["whisper"]).eval()
    assert encoder(batch(encoder, 40_000)).num_valid.tolist() == [125]


def test_whisper_listens_to_less_silence_where_it_is_told_to(folders):
    encoder = PretrainedSpeechEncoder(str(folders["whisper"]), max_length_s=0.5, pad_to_s=0.5)
    inner = encoder.eval().backbone.model
    shapes = []
    inner.layers[0].register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape))
    given = batch(encoder, 8000, 3203, 16000)  # the last one in two windows
    output = encoder(given)
    assert output.num_valid.tolist() == [25, 11, 50]
    assert {shape[1] for shape in shapes} == {25}  # frames, 50 with all of the silence
    # As the same model does whose files have no more positions.
    positions = build(folders["whisper"]).backbone.model.embed_positions.weight
    torch.testing.assert_close(inner.embed_positions.weight, positions[:25])
    assert not inner.embed_positions.weight.requires_grad


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("whisper", {"pad_to_s": 2.0}, "at most 1"),
        ("whisper", {"pad_to_s": 0.0}, "above 0"),
        ("whisper", {"pad_to_s": 0.5, "max_length_s": 1.0}, r"from 0\.1 to 0\.5"),
        ("hubert", {"pad_to_s": 0.5}, "but for Whisper"),
    ],
)
def test_a_length_that_cannot_be_listened_to_is_refused(folders, name, options, message):
    with pytest.raises(ConfigError, match=message):
        PretrainedSpeechEncoder(str(folders[name]), **{"max_length_s": None, **options})


def test_stored_outputs_differ_with_what_is_listened_to(folders):
    encoders = [
        PretrainedSpeechEncoder(str(folders["whisper"]), freeze="all", max_length_s=0.5, **options)
        for options in ({}, {"pad_to_s": 0.5})
    ]
    assert len({encoder.prefix_identity for encoder in encoders}) == 2


def test_a_model_without_the_settings_of_its_waveforms_is_refused(folders, tmp_path):
    folder = store(tmp_path / "bare", "Hubert", COMMON)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="preprocessor_config"):
        build(folder)


def test_a_normalisation_over_the_batch_is_refused(tmp_path):
    folder = store(tmp_path / "batch", "Hubert", {**COMMON, "conv_pos_batch_norm": True})
    with pytest.raises(ConfigError, match="conv_pos_batch_norm"):
        build(folder)


@pytest.mark.parametrize("pooling", ["mean", "none"])
@pytest.mark.parametrize("name", ["hubert", "whisper"])
def test_stored_vectors_are_those_of_the_encoder(folders, name, pooling):
    extractor = PretrainedSpeechExtractor(
        str(folders[name]), layer=1, pooling=pooling, max_length_s=None
    )
    extractor = pickle.loads(pickle.dumps(extractor))
    encoder = build(folders[name], layer=1).eval()
    frames = encoder(pad([encoder.transform()(noise(1203))])).values[0].detach()
    expected = frames.mean(dim=0, keepdim=True) if pooling == "mean" else frames
    np.testing.assert_allclose(extractor(noise(1203)), expected.numpy(), atol=1e-5)
    assert extractor(np.zeros(0, np.float32)).shape == (1, extractor.feature_size)
    assert (extractor.frame_rate_hz is None) == (pooling == "mean")


@pytest.mark.parametrize("pooling", ["mean", "none"])
@pytest.mark.parametrize("name", MODELS)
def test_several_at_once_are_each_as_alone(folders, name, pooling):
    extractor = PretrainedSpeechExtractor(str(folders[name]), pooling=pooling, max_length_s=None)
    assert isinstance(extractor, BatchedExtractor)
    raws = [noise(num, seed) for seed, num in enumerate((3000, 0, 1203, 300, 3000))]
    together, alone = extractor.extract_batch(raws), [extractor(raw) for raw in raws]
    assert (len({vectors.shape for vectors in together}) > 2) == (pooling == "none")
    for ours, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)
    extractor.release()
    np.testing.assert_allclose(extractor(raws[0]), alone[0], atol=1e-6)


def test_the_precision_belongs_to_the_identity_and_is_used(folders):
    exact = PretrainedSpeechExtractor(str(folders["hubert"]), precision="float32")
    rough = PretrainedSpeechExtractor(str(folders["hubert"]), precision="bfloat16")
    assert exact.identity != rough.identity
    difference = np.abs(exact(noise(1203)) - rough(noise(1203))).max()
    assert 1e-5 < difference < 0.1
    with pytest.raises(ConfigError, match="did you mean 'bfloat16'"):
        PretrainedSpeechExtractor(str(folders["hubert"]), precision="bfloat61")


def test_the_identity_is_the_content_and_the_options(folders, tmp_path):
    def identity(folder, **options):
        return PretrainedSpeechExtractor(str(folder), **options).identity

    moved = tmp_path / "moved"
    moved.mkdir()
    for path in folders["hubert"].iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    changed = change_last_block(folders["hubert"], tmp_path / "changed")
    assert identity(moved) == identity(folders["hubert"])
    options = [{}, {"layer": 1}, {"pooling": "none"}, {"normalise_waveform": False}]
    options += [{"longer": "truncate"}, {"max_length_s": 4.0}]
    identities = {identity(moved, **changes) for changes in options} | {identity(changed)}
    assert len(identities) == len(options) + 1
    (moved / "preprocessor_config.json").write_text('{"do_normalize": false}')
    assert identity(moved) not in identities


def test_weights_that_were_written_anew_are_read_anew(tmp_path):
    """In one process: vectors of the old files under the new identity would be stored wrongly."""
    folder = store(tmp_path / "model", "Hubert", COMMON)
    before = PretrainedSpeechExtractor(str(folder))
    seen = before.identity, before(noise(1203))
    transformers.HubertModel(transformers.HubertConfig(**COMMON)).save_pretrained(folder)
    after = PretrainedSpeechExtractor(str(folder))
    assert after.identity != seen[0]
    assert not np.allclose(after(noise(1203)), seen[1])


def test_stored_vectors_are_standardised_like_others(folders):
    encoder = PretrainedSpeechEmbeddings(str(folders["hubert"]), normalise="speaker")
    assert (encoder.feature_size, encoder.is_transductive, encoder.source) == (16, True, "audio")
    for layer, message in (("weighted", "freeze=all"), (3, "from 1 to 2"), (0, "the input")):
        for name in ("hubert", "whisper"):
            with pytest.raises(ConfigError, match=message):
                PretrainedSpeechEmbeddings(str(folders[name]), layer=layer, max_length_s=None)
    with pytest.raises(ConfigError, match="did you mean 'mean'"):
        PretrainedSpeechEmbeddings(str(folders["hubert"]), pooling="men")
