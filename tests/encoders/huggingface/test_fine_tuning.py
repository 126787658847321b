"""Pretrained encoders in training: what is changed, what learns how fast, in which precision."""

import os
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from polymodal.config.compose import compose
from polymodal.data.dataset import pad
from polymodal.encoders.huggingface.speech import PretrainedSpeechEncoder
from polymodal.encoders.logmel import LogMelEncoder
from polymodal.errors import ConfigError
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import build_trainer
from polymodal.training.optimizers import build_optimizer, parameter_groups

transformers = pytest.importorskip("transformers")

BLOCKS = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
BLOCKS |= {"intermediate_size": 24, "attention_dropout": 0.0, "hidden_dropout": 0.0}
SPEECH = {**BLOCKS, "conv_dim": (8, 8), "num_feat_extract_layers": 2, "feat_proj_dropout": 0.0}
SPEECH |= {"conv_kernel": (40, 20), "conv_stride": (20, 16), "num_conv_pos_embedding_groups": 2}
SPEECH |= {"num_conv_pos_embeddings": 8, "activation_dropout": 0.0}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
WHISPER = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "decoder_layers": 1}
WHISPER |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
WHISPER |= {"num_mel_bins": 20, "max_source_positions": 50, "vocab_size": 60, "pad_token_id": 0}
WHISPER |= {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
SMALL = ["corpus=sample", "model=unimodal", "corpus.num_speakers=6", "corpus.num_utterances=4"]
SMALL += ["split.val=0.3", "tracker=none", "encoder=[hubert]", "trainer.max_epochs=2"]
SMALL += ["trainer.accelerator=cpu", "encoder.speech.mask_time_fraction=0.1"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def speech(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("fine-tuned")
    torch.manual_seed(0)
    for name, options in {"base": SPEECH, "large": {**SPEECH, **LARGE}}.items():
        transformers.HubertModel(transformers.HubertConfig(**options)).save_pretrained(root / name)
        transformers.Wav2Vec2FeatureExtractor().save_pretrained(root / name)
    whisper = transformers.WhisperModel(transformers.WhisperConfig(**WHISPER))
    whisper.save_pretrained(root / "whisper")
    extractor = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=1)
    extractor.save_pretrained(root / "whisper")
    return {name: root / name for name in ("base", "large", "whisper")}


def build(folder: Path, **options) -> PretrainedSpeechEncoder:
    return PretrainedSpeechEncoder(str(folder), mask_time_fraction=0.0, max_length_s=1.0, **options)


def noise(encoder, *lengths: int):
    waveforms = [
        np.random.default_rng(seed).normal(0, 0.1, length).astype(np.float32)
        for seed, length in enumerate(lengths)
    ]
    return pad([encoder.transform()(waveform) for waveform in waveforms])


@pytest.mark.parametrize("name", ["base", "whisper"])
def test_the_waveform_is_changed_in_training_only_and_by_the_seed(speech, name):
    options = {"speed": [0.8, 0.9], "noise_snr_db": [5, 10]}
    encoder, plain = build(speech[name], waveform_augment=options), build(speech[name])
    assert encoder.augments_waveform
    assert not plain.augments_waveform
    audio = noise(encoder, 12_000, 0, 6000)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(encoder.train()(audio))
    assert torch.equal(outputs[0].values, outputs[1].values)
    assert outputs[0].values.shape != outputs[2].values.shape or not torch.equal(
        outputs[0].values, outputs[2].values
    )
    before, after = plain.eval()(audio), encoder.eval()(audio)
    torch.testing.assert_close(after.values, before.values)
    slower = outputs[0].num_valid[[0, 2]] / before.num_valid[[0, 2]]
    assert ((slower > 1.05) & (slower < 1.3)).all()
    assert outputs[0].num_valid[1] == 0


def test_a_changed_waveform_is_normalised_again_and_no_longer_than_may_be(speech):
    options = {"speed": [0.8, 0.8], "noise_snr_db": [0, 0]}
    encoder = build(
        speech["base"], waveform_augment=options, normalise_waveform=True, longer="truncate"
    ).train()
    inputs: list[tuple[torch.Tensor, torch.Tensor]] = []
    encoder.input.register_forward_pre_hook(lambda _, given: inputs.append(given))
    encoder(noise(encoder, 16_000, 4000))
    ((samples, lengths),) = inputs
    assert lengths.tolist() == [16_000, 5000]
    for row, length in zip(samples, lengths, strict=True):
        assert row[:length].mean() == pytest.approx(0.0, abs=1e-5)
        assert row[:length].var(unbiased=False) == pytest.approx(1.0, abs=1e-3)
        assert not row[length:].any()


def test_a_slowed_down_waveform_is_encoded_in_windows(speech):
    windows = build(speech["base"], waveform_augment={"speed": [0.8, 0.8]})
    audio = noise(windows, 16_000)
    before, after = (windows.train(mode)(audio).num_valid.item() for mode in (False, True))
    assert after == pytest.approx(before / 0.8, abs=2)


def test_a_level_that_is_taken_out_again_is_refused(speech):
    with pytest.raises(ConfigError, match="takes out again"):
        build(speech["base"], normalise_waveform=True, waveform_augment={"gain_db": [-6, 6]})
    with pytest.raises(ConfigError, match="takes out again"):
        LogMelEncoder(waveform_augment={"gain_db": [-6, 6]})
    assert LogMelEncoder(normalise="none", waveform_augment={"gain_db": [-6, 6]}).augments_waveform


def test_the_log_mel_encoder_hears_changed_waveforms_in_training():
    encoder = LogMelEncoder(
        width=16,
        num_layers=1,
        num_heads=2,
        dropout=0.0,
        spec_augment=False,
        waveform_augment={"speed": [0.5, 0.5]},
    )
    audio = noise(encoder, 16_000, 8000)
    assert encoder.train()(audio).num_valid.tolist() == [50, 25]
    assert encoder.eval()(audio).num_valid.tolist() == [25, 13]


@pytest.mark.parametrize("name", ["base", "large", "whisper"])
def test_stretches_of_features_are_hidden_in_training(speech, name):
    encoder = build(speech[name], mask_feature_fraction=0.4).train()
    seen = []
    inner = encoder.backbone.model
    observed = inner if name == "whisper" else inner.encoder
    observed.register_forward_pre_hook(
        lambda module, inputs, options: seen.append(
            inputs[0] if inputs else options["input_features"].mT
        ),
        with_kwargs=True,
    )
    torch.manual_seed(3)
    audio = noise(encoder, 12_000, 9000)
    encoder(audio)
    zero = (seen[0] == 0).all(dim=1)  # [batch, feature]
    assert 0 < zero.sum() < zero.numel()
    assert not torch.equal(zero[0], zero[1])
    encoder.eval()(audio)
    assert not (seen[1] == 0).all(dim=1).any()


def test_a_fraction_of_features_is_from_0_to_below_1(speech):
    with pytest.raises(ConfigError, match=r"mask_feature_fraction=1\.0"):
        build(speech["base"], mask_feature_fraction=1.0)


@pytest.mark.parametrize(
    ("name", "lowest"), [("base", "encoder.layer_norm"), ("large", "feature_projection")]
)
def test_blocks_learn_the_slower_the_lower_they_are(speech, name, lowest):
    encoder = build(speech[name], layer="weighted", layer_decay=0.5)
    module = torch.nn.ModuleDict({"encoder": encoder, "head": torch.nn.Linear(16, 2)})
    groups = parameter_groups(module)
    rates = {id(item): group.get("lr_scale", 1.0) for group in groups for item in group["params"]}
    model = encoder.backbone.model
    factors = {
        item: rates[id(parameter)]
        for item, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    for number, factor in enumerate((0.125, 0.25, 0.5)):
        of_block = {
            factors[item] for item in factors if item.startswith(f"encoder.layers.{number}.")
        }
        assert of_block == {factor}
    assert {factors[item] for item in factors if item.startswith(lowest)} == {0.0625}
    assert rates[id(module["head"].weight)] == 1.0
    assert rates[id(encoder.backbone.mixture.logits)] == 1.0
    if name == "large":
        assert factors["encoder.layer_norm.weight"] == 0.5
    assert len(rates) == sum(item.requires_grad for item in module.parameters())
    for group in groups:
        assert len({item.ndim > 1 for item in group["params"]}) == 1
        assert ("weight_decay" in group) == (group["params"][0].ndim <= 1)
    optimizer = build_optimizer(torch.optim.AdamW, groups, fused=False)
    shown = [group["lr"] for group in optimizer.param_groups]
    assert shown == sorted(shown, reverse=True)
    assert (shown[0], shown[-1]) == (1e-3, 1e-3 * 0.0625)


@pytest.mark.parametrize(
    "options", [{"layer_decay": 0.0}, {"layer_decay": 1.1}, {"layer_decay": 0.9, "freeze": "all"}]
)
def test_a_decay_that_is_none_is_refused(speech, options):
    with pytest.raises(ConfigError, match="layer_decay"):
        build(speech["base"], **options)


class StopAfterOne(pl.Callback):
    """Ends the training after its first epoch, as a signal would."""

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = True


def fit(experiment, *, callbacks=(), checkpoint=None):
    fold = experiment.folds[0]
    module = experiment.build_module(fold)
    trainer = build_trainer(experiment, callbacks=list(callbacks), logger=False)
    training = experiment.build_loader(fold, "train", training=True)
    trainer.fit(module, training, experiment.build_loader(fold, "val"), ckpt_path=checkpoint)
    return module, trainer


def test_a_resumed_run_learns_as_an_uninterrupted_one_to_the_last_bit(workplace, speech):
    """Changed waveforms, hidden frames and features are drawn again; rates go on as they were."""
    options = [f"encoder.speech.name={speech['base']}", "encoder.speech.layer_decay=0.5"]
    options += ["encoder.speech.waveform_augment.speed=[0.9,1.1]"]
    options += ["encoder.speech.waveform_augment.noise_snr_db=[5,20]"]
    options += ["encoder.speech.mask_feature_fraction=0.1", "scheduler=warmup_cosine"]
    experiment = Experiment.prepare(compose([*SMALL, *options]).resolved())
    uninterrupted, trainer = fit(experiment)
    rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
    _, stopped = fit(experiment, callbacks=[StopAfterOne()])
    assert stopped.current_epoch == 1
    stopped.save_checkpoint("stopped.ckpt")
    resumed, trainer = fit(experiment, checkpoint=os.fspath(Path("stopped.ckpt").absolute()))
    for name, value in uninterrupted.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert [group["lr"] for group in trainer.optimizers[0].param_groups] == rates
    bases = trainer.lr_scheduler_configs[0].scheduler.base_lrs
    assert max(bases) / min(bases) == pytest.approx(2**4)


@pytest.mark.parametrize(
    ("options", "learns"),
    [
        (["encoder.speech.freeze=2"], ".layers.2."),
        (["encoder.speech.lora={r: 2}"], "lora_B"),
        (["encoder.speech.gradient_checkpointing=true"], ".layers.0."),
        (["encoder.speech.freeze=all", "encoder.speech.layer=weighted"], "mixture"),
    ],
)
def test_they_are_trained_in_bfloat16_too(workplace, speech, options, learns):
    name = f"encoder.speech.name={speech['base']}"
    chosen = [*SMALL, name, "trainer.precision=bf16-mixed", "+trainer.limit_train_batches=2"]
    experiment = Experiment.prepare(compose([*chosen, *options]).resolved())
    before = experiment.build_module(experiment.folds[0]).encoders.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    module, _ = fit(experiment)
    after = module.encoders.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert {value.dtype for value in after.values() if value.is_floating_point()} == {torch.float32}
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert any(learns in name for name in changed)
    still = {
        name
        for name, parameter in module.encoders.named_parameters()
        if not parameter.requires_grad
    }
    assert not changed & still
