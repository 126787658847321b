"""Pretrained speech encoders: HuBERT, wav2vec 2.0, WavLM, data2vec, and the encoder of Whisper.

Hsu et al. 2021 (arXiv 2106.07447), Baevski et al. 2020 (arXiv 2006.11477), Chen et al. 2022 (arXiv
2110.13900), Baevski et al. 2022 (arXiv 2202.03555), Radford et al. 2022 (arXiv 2212.04356).

Legend: batch = utterances, window = stretches of at most `max_length_s`, time = frames, sample =
samples, channel = channels of a convolution, band = mel bands, feature = width.
"""

import collections.abc
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor, nn
from torch.nn import functional

from polymodal.encoders.base import Transform
from polymodal.encoders.extractor import Prefix, package_version
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.encoders.huggingface.backbone import (
    Backbone,
    Checkpoint,
    Family,
    check_frozen,
    locate,
)
from polymodal.encoders.huggingface.batching import (
    extract_batch,
    max_batch_s,
    move_to_device,
    resolve_precision,
)
from polymodal.encoders.huggingface.inputs import WHISPER_STRIDE, WaveformInput, WhisperInput
from polymodal.encoders.huggingface.prefix import (
    STEM,
    PrefixedEncoder,
    folder_weights_mb,
    prefix_extractor,
)
from polymodal.errors import CheckpointError, ConfigError, DataError, nearest
from polymodal.layers.masks import mask_to_lengths, zero_padding
from polymodal.layers.waveform_augment import waveform_changes
from polymodal.schemas.batch import PaddedSequence

# Blocks that are left out at random (layerdrop) would move the numbers of the layers.
WAV2VEC2 = Family(
    "Wav2Vec2Model",
    blocks="encoder.layers",
    stem=("feature_extractor",),
    adapted=("q_proj", "v_proj"),
    final_norm="encoder.layer_norm",
    options={"layerdrop": 0.0, "add_adapter": False},
)
FAMILIES: Mapping[str, Family] = {
    "hubert": replace(WAV2VEC2, model="HubertModel", options={"layerdrop": 0.0}),
    "wav2vec2": WAV2VEC2,
    "wavlm": replace(
        WAV2VEC2,
        model="WavLMModel",
        adapted=("intermediate_dense", "output_dense"),
        past_adapters=".attention.",
        attention="eager",
        plain=False,  # all blocks use the positions that the first one makes
    ),
    "data2vec-audio": replace(WAV2VEC2, model="Data2VecAudioModel", final_norm=""),
    "whisper": Family(
        "WhisperModel",
        blocks="layers",
        stem=("conv1", "conv2"),
        adapted=("q_proj", "v_proj"),
        final_norm="layer_norm",
        encoder="encoder",
        plain=False,  # the blocks also attend to the silence behind the utterance
        options={"encoder_layerdrop": 0.0},
    ),
}
WHISPER = "whisper"
# Neighbouring features that are hidden together.
FEATURE_SPAN = 10
LONGER = ("windows", "truncate", "refuse")


class PretrainedSpeechEncoder(PrefixedEncoder):
    """Waveform to the vectors of a pretrained model, 50 a second in all that are common.

    What an utterance gives does not depend on the batch: the normalisation over time of the base
    models (`feat_extract_norm="group"`) and the stacked positional convolutions of data2vec, which
    see padding in transformers, see the real frames only here. Whisper always listens to 30 s with
    silence behind the utterance, as it was trained to; the frames of that silence are masked.
    Dropping whole blocks in training (layer drop) is off.

    What is frozen from the waveform on can be stored and read (`prefix`). Frames and features are
    hidden behind the convolutions, so that with hiding on these alone are stored, even where blocks
    are frozen.

    Args:
        name: A folder, or a name of the hub such as `facebook/hubert-base-ls960`. The weights have
            to be safetensors.
        revision: Commit, tag or branch of the hub; the commit is resolved and kept.
        layer: `last`, the number of a block, or `weighted` (see `Backbone`).
        freeze: `none`; `convolutions`; a number N = all before the blocks and the first N blocks;
            `all`.
        lora: Options of peft's `LoraConfig`: only the adapters are trained then; None for none.
        gradient_checkpointing: Whether to save memory and spend time.
        layer_decay: Learning rates fall by this factor from block to block, from the head down
            (see `Backbone`); None for one rate.
        max_length_s: Greatest length that the model is given at once, in seconds; for Whisper at
            most 30 (or `pad_to_s`), and None is that.
        longer: What happens to a longer utterance: `windows` = its stretches are encoded one by
            one and joined; `truncate` = its beginning is kept; `refuse`.
        normalise_waveform: Whether each utterance gets mean 0 and variance 1; None does as the
            model's feature extractor says.
        mask_time_share: Share of the time that is hidden in training (SpecAugment, Park et al.
            2019, arXiv 1904.08779; in stretches as wav2vec 2.0 does); 0 for none.
        mask_span_s: Length of one hidden stretch, in seconds.
        mask_feature_share: Share of the features (of Whisper's mel bands) that are zero in
            training, in stretches of 10, another choice for each utterance; 0 for none.
        waveform_augment: Changes of the waveform in training: options of `WaveformAugment`; None
            for none.
        pad_to_s: Whisper only: how many seconds it listens to, the silence behind an utterance
            included; None for the 30 s that it was trained with. Its blocks take time and memory
            in proportion.

    Attributes:
        revision: Commit of the hub, or the digest of the folder.

    Raises:
        ConfigError: An option is out of its range, or nothing can be found under this name.
        CheckpointError: The folder cannot be read, or has no safetensors.
        MissingExtraError: transformers, or peft for `lora`, is not installed.
    """

    source = "audio"

    def __init__(
        self,
        name: str,
        revision: str | None = None,
        layer: str | int = "last",
        freeze: str | int = "convolutions",
        lora: Mapping[str, Any] | None = None,
        gradient_checkpointing: bool = False,
        max_length_s: float | None = 30.0,
        longer: str = "windows",
        normalise_waveform: bool | None = None,
        mask_time_share: float = 0.05,
        mask_span_s: float = 0.2,
        mask_feature_share: float = 0.0,
        waveform_augment: Mapping[str, Any] | None = None,
        layer_decay: float | None = None,
        pad_to_s: float | None = None,
    ) -> None:
        super().__init__()
        _check_masking(mask_time_share, mask_span_s, mask_feature_share)
        self.checkpoint = locate(name, revision)
        family = self.checkpoint.family(FAMILIES)
        settings = _settings(self.checkpoint).padded_to(pad_to_s)
        self.pad_to_s = pad_to_s
        self.feature_size, self.frame_rate_hz = settings.feature_size, settings.frame_rate_hz
        self.sampling_rate_hz = settings.sampling_rate_hz
        self.prepare = settings.preparation(max_length_s, longer, normalise_waveform)
        self.waveform_augment = waveform_changes(
            waveform_augment, normalised=self.prepare.normalise
        )
        self.augments_waveform = self.waveform_augment.is_on
        self.mask_time_share, self.mask_span_s = mask_time_share, mask_span_s
        self.mask_feature_share, self.layer = mask_feature_share, layer
        self.backbone = Backbone(
            self.checkpoint,
            family,
            stem="convolutions",
            layer=layer,
            freeze=freeze,
            lora=lora,
            gradient_checkpointing=gradient_checkpointing,
            layer_decay=layer_decay,
            **({} if settings.longest else _hiding(mask_time_share)),
        )
        if settings.longest and pad_to_s is not None:
            _shorten(self.backbone.model, settings.longest // settings.step)
        # Stretches are drawn here: transformers draws them from numpy, whose seed a resumed run
        # lacks, and fails where an utterance is shorter than one.
        self.backbone.model.config.apply_spec_augment = True
        self.input: WhisperInput | WaveformInput = (
            WhisperInput(settings.extractor, settings.longest)
            if settings.longest
            else WaveformInput(self.backbone.model, self.sampling_rate_hz)
        )

    @property
    def revision(self) -> str:
        """Commit of the hub, or `sha256:` and the digest of the folder."""
        return self.checkpoint.revision

    def transform(self) -> Transform:
        """Returns what cuts (or refuses) and normalises one waveform, over its own samples."""
        return self.prepare

    def write_description(self, folder: Path) -> None:
        """Copy configuration, tokenizer and feature extractor: see `Encoder.write_description`."""
        self.checkpoint.copy_description(folder)

    def learning_rate_scales(self) -> Mapping[nn.Parameter, float]:
        """Returns what the learning rate of a parameter is multiplied by: see `Backbone`."""
        return self.backbone.learning_rate_scales()

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Returns the encoded speech.

        Args:
            sequence: Waveforms `[batch, sample]` from `transform` and their mask; one shorter than
                a frame counts as padded with silence.

        Returns:
            `[batch, time, feature_size]` and the mask; zeros under the padding.
        """
        if self.reads_prefix:
            return self._forward_from_prefix(sequence)
        changed = self._augmented(sequence)
        return encode_in_windows(self._encode, changed, self.prepare.window, self.input.shortest)

    def prefix(self, precision: str) -> Prefix | str | None:
        """Returns what computes the frozen beginning: see `Encoder.prefix`."""
        depth = self._prefix_depth
        if depth is None:
            return None
        if self.augments_waveform:
            return "waveform_augment changes the waveforms"
        if isinstance(self.input, WhisperInput) and depth != len(self.backbone.blocks):
            return "Whisper's blocks also hear the silence up to 30 s, too much to store"
        return prefix_extractor(self, precision, self._prefix_ends)

    @property
    def prefix_size(self) -> int:
        """Width of what the frozen beginning puts out."""
        config = self.backbone.model.config
        return int(config.conv_dim[-1] if self._prefix_depth == STEM else config.hidden_size)

    @property
    def prefix_identity(self) -> str:
        """The model, its files, what is done to waveforms, and where the beginning ends."""
        model, checkpoint = type(self.backbone.model).__name__, self.checkpoint
        about = f"{model} {checkpoint.commit} {checkpoint.digest} {self.prepare}"
        about += "" if self.pad_to_s is None else f" pad_to_s {self.pad_to_s:g}"
        return f"{about} prefix: {self._prefix_ends}"

    def encode_prefix(self, sequence: PaddedSequence) -> PaddedSequence:
        """Runs the frozen beginning: see `PrefixedEncoder`."""
        window, shortest = self.prepare.window, self.input.shortest
        return encode_in_windows(self._encode_prefix, sequence, window, shortest)

    @property
    def _prefix_depth(self) -> int | None:
        depth, hides = self.backbone.prefix_depth, self.mask_time_share + self.mask_feature_share
        return STEM if depth is not None and hides and not self.backbone.frozen else depth

    @property
    def _prefix_ends(self) -> str:
        depth = self._prefix_depth
        return "convolutions" if depth == STEM else self.backbone.prefix_words(depth, self.layer)

    def _encode_prefix(
        self, samples: Float[Tensor, "window sample"], lengths: Int[Tensor, " window"]
    ) -> tuple[Float[Tensor, "window time feature"], Bool[Tensor, "window time"]]:
        assert self._prefix_depth is not None, "nothing is frozen"
        inputs, mask = self.input(samples, lengths)
        values = self.backbone.forward_prefix(self._prefix_depth, **inputs)
        return values[:, : mask.shape[1]], mask

    def _forward_from_prefix(self, sequence: PaddedSequence) -> PaddedSequence:
        """Encodes what the frozen beginning has put out."""
        missing = max(0, 1 - sequence.valid_mask.shape[1])
        mask = functional.pad(sequence.valid_mask, (0, missing))
        states = functional.pad(sequence.values, (0, 0, 0, missing))
        if self._prefix_depth == len(self.backbone.blocks):
            return PaddedSequence(zero_padding(states, mask), mask)
        assert isinstance(self.input, WaveformInput), "nothing of Whisper's beginning is stored"
        window = self.prepare.window and self.input.num_frames(self.prepare.window)
        return encode_in_windows(self._encode_suffix, PaddedSequence(states, mask), window, 1)

    def _encode_suffix(
        self, states: Float[Tensor, "window time prefix"], num_frames: Int[Tensor, " window"]
    ) -> tuple[Float[Tensor, "window time feature"], Bool[Tensor, "window time"]]:
        depth, given = self._prefix_depth, self.input
        assert depth is not None, "nothing is frozen"
        assert isinstance(given, WaveformInput), "nothing of Whisper's beginning is stored"
        attended, mask = given.go_on(num_frames, states.shape[1])
        if depth == STEM:
            hidden, features = self._hidden_frames(mask), self._hidden_features(states)
            states = given.project(self.backbone.model, states, hidden, features)
        return self.backbone.forward_suffix(depth, states, attended), mask

    def _augmented(self, sequence: PaddedSequence) -> PaddedSequence:
        if not (self.training and self.augments_waveform):
            return sequence
        changed: PaddedSequence = self.waveform_augment(sequence)
        if self.prepare.longer != "windows" and self.prepare.window is not None:
            kept = slice(self.prepare.window)  # what was slowed down may be too long by now
            changed = PaddedSequence(changed.values[:, kept], changed.valid_mask[:, kept])
        return _normalised(changed) if self.prepare.normalise else changed

    def _encode(
        self, samples: Float[Tensor, "window sample"], lengths: Int[Tensor, " window"]
    ) -> tuple[Float[Tensor, "window time feature"], Bool[Tensor, "window time"]]:
        inputs, mask = self.input(samples, lengths)
        hidden, features = self._hidden_frames(mask), self._hidden_features(samples)
        values = self.backbone(**self.input.hide(inputs, hidden, features))
        return values[:, : mask.shape[1]], mask

    @property
    def _hides(self) -> bool:
        return self.training and not self.backbone.frozen

    def _hidden_frames(self, mask: Bool[Tensor, "window time"]) -> Bool[Tensor, "window _"] | None:
        if not (self._hides and self.mask_time_share > 0):
            return None
        span = max(1, round(self.mask_span_s * self.input.rate_hz))
        return sample_mask_spans(self.input.maskable(mask), self.mask_time_share, span)

    def _hidden_features(self, windows: Tensor) -> Bool[Tensor, "window feature"] | None:
        if not (self._hides and self.mask_feature_share > 0):
            return None
        shape = (len(windows), self.input.num_features)
        every = torch.ones(shape, dtype=torch.bool, device=windows.device)
        return sample_mask_spans(every, self.mask_feature_share, FEATURE_SPAN)


@dataclass(frozen=True)
class PreparedWaveform:
    """Cuts (or refuses) and normalises one waveform.

    Args:
        window: Number of samples that the model is given at once; None for any.
        longer: `windows`, `truncate` or `refuse`.
        normalise: Whether the waveform gets mean 0 and variance 1.
        sampling_rate_hz: Samples a second.

    Example:
        >>> PreparedWaveform(2, "truncate", True, 16000)(np.array([0.0, 2.0, 5.0])).round(3)
        array([-1.,  1.], dtype=float32)
    """

    window: int | None
    longer: str
    normalise: bool
    sampling_rate_hz: int

    def __call__(self, waveform: Any) -> npt.NDArray[np.float32] | None:
        """Returns the waveform as the model wants it.

        Args:
            waveform: `[sample]`.

        Returns:
            `[sample]`; None where it has no sample.

        Raises:
            DataError: It is too long, and `longer` is `refuse`.
        """
        samples = np.asarray(waveform, dtype=np.float32)
        if self.window is not None and len(samples) > self.window and self.longer != "windows":
            if self.longer == "refuse":
                raise DataError(
                    f"an utterance of {len(samples) / self.sampling_rate_hz:.1f} s",
                    expected=f"at most {self.window / self.sampling_rate_hz:g} s "
                    "(the encoder's max_length_s)",
                    hint="set longer to windows or truncate, or cut the utterance",
                )
            samples = samples[: self.window]
        if self.normalise and samples.size:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        return samples.astype(np.float32) if samples.size else None


@dataclass(frozen=True)
class PretrainedSpeechExtractor:
    """The vectors of a pretrained speech model, of several utterances at once.

    Args:
        name: A folder, or a name of the hub.
        revision: Commit, tag or branch of the hub.
        layer: `last`, or the number of a block.
        pooling: `mean` = one vector an utterance, `none` = one a frame.
        max_length_s: See `PretrainedSpeechEncoder`.
        longer: See `PretrainedSpeechEncoder`.
        normalise_waveform: See `PretrainedSpeechEncoder`.
        precision: `float32` or `bfloat16`; None is bfloat16 on CUDA, float32 elsewhere.

    Raises:
        ConfigError: An option is out of its range, or nothing can be found under this name.
        CheckpointError: The folder cannot be read, or has no safetensors.
        MissingExtraError: transformers is not installed.
    """

    name: str
    revision: str | None = None
    layer: str | int = "last"
    pooling: str = "mean"
    max_length_s: float | None = 30.0
    longer: str = "windows"
    normalise_waveform: bool | None = None
    precision: str | None = None
    source = "audio"

    def __post_init__(self) -> None:
        resolve_precision(self.precision)
        check_frozen(self.layer, self.pooling, self._settings.num_blocks)
        self._prepare()

    @property
    def sampling_rate_hz(self) -> int:
        """Sampling rate that the model wants, in Hz."""
        return self._settings.sampling_rate_hz

    @property
    def feature_size(self) -> int:
        """Width of its vectors."""
        return self._settings.feature_size

    @property
    def frame_rate_hz(self) -> float | None:
        """Vectors a second; None for one vector an utterance."""
        return self._settings.frame_rate_hz if self.pooling == "none" else None

    @property
    def identity(self) -> str:
        """Architecture, version of transformers, digest of the files, and options."""
        prepare, model = self._prepare(), self._checkpoint.family(FAMILIES).model
        return (
            f"transformers {package_version('transformers', 'pretrained')} {model} "
            f"{self._checkpoint.commit} {self._checkpoint.digest} layer {self.layer} "
            f"pooling {self.pooling} {resolve_precision(self.precision)} {prepare}"
        )

    @property
    def max_batch_amount(self) -> int:
        """Greatest padded length of a batch on this machine, in samples."""
        return int(max_batch_s() * self.sampling_rate_hz)

    def __call__(self, raw: Float32[np.ndarray, " sample"]) -> Float32[np.ndarray, "time feature"]:
        """Encodes one waveform.

        Args:
            raw: Waveform at `sampling_rate_hz`, float32 `[sample]`.

        Returns:
            Float32 `[time, feature]`; one vector of zeros where there is no sample.
        """
        return self.extract_batch([raw])[0]

    def extract_batch(
        self, raws: collections.abc.Sequence[Float32[np.ndarray, " _sample"]]
    ) -> list[Float32[np.ndarray, "_time feature"]]:
        """Encodes several waveforms.

        Args:
            raws: Each as for one.

        Returns:
            What each gives alone, but for rounding.
        """
        return extract_batch(
            _frozen_encoder(self, self._checkpoint.state),
            raws,
            pooling=self.pooling,
            precision=resolve_precision(self.precision),
        )

    def release(self) -> None:
        """Frees the memory of the model."""
        _frozen_encoder.cache_clear()

    @functools.cached_property
    def _checkpoint(self) -> Checkpoint:
        return locate(self.name, self.revision)

    @functools.cached_property
    def _settings(self) -> "SpeechSettings":
        return _settings(self._checkpoint)

    def _prepare(self) -> PreparedWaveform:
        return self._settings.preparation(self.max_length_s, self.longer, self.normalise_waveform)


class PretrainedSpeechEmbeddings(FrozenEncoder):
    """The vectors of a pretrained speech model that is not trained, stored and standardised.

    Args:
        name: A folder, or a name of the hub.
        revision: Commit, tag or branch of the hub.
        layer: `last`, or the number of a block (the middle ones often suit emotions best).
        pooling: `mean` = one vector an utterance, `none` = one a frame.
        max_length_s: See `PretrainedSpeechEncoder`.
        longer: See `PretrainedSpeechEncoder`.
        normalise_waveform: See `PretrainedSpeechEncoder`.
        precision: See `PretrainedSpeechExtractor`.
        normalise: See `FrozenEncoder`.
        clip: See `FrozenEncoder`.

    Raises:
        ConfigError: An option is out of its range, or nothing can be found under this name.
        CheckpointError: The folder cannot be read, or has no safetensors.
        MissingExtraError: transformers is not installed.
    """

    source = "audio"
    weights_mb = classmethod(folder_weights_mb)

    def __init__(
        self,
        name: str,
        revision: str | None = None,
        layer: str | int = "last",
        pooling: str = "mean",
        max_length_s: float | None = 30.0,
        longer: str = "windows",
        normalise_waveform: bool | None = None,
        *,
        precision: str | None = None,
        normalise: str = "corpus",
        clip: float | None = 10.0,
    ) -> None:
        extractor = PretrainedSpeechExtractor(
            name, revision, layer, pooling, max_length_s, longer, normalise_waveform, precision
        )
        super().__init__(extractor, normalise=normalise, clip=clip)


@dataclass(frozen=True)
class SpeechSettings:
    """What the files beside the weights say about a speech model.

    Args:
        extractor: Its feature extractor.
        feature_size: Width of its output.
        num_blocks: Number of its transformer blocks.
        step: Samples from one vector to the next.
        longest: For Whisper: how many samples it always listens to; None for other models.
    """

    extractor: Any
    feature_size: int
    num_blocks: int
    step: int
    longest: int | None

    @property
    def sampling_rate_hz(self) -> int:
        """Sampling rate that the model wants, in Hz."""
        return int(self.extractor.sampling_rate)

    @property
    def frame_rate_hz(self) -> float:
        """Vectors a second."""
        return self.sampling_rate_hz / self.step

    def padded_to(self, pad_to_s: float | None) -> "SpeechSettings":
        """Return the settings of a Whisper that listens to less than it was trained with.

        Args:
            pad_to_s: How many seconds it listens to; None for all.

        Returns:
            The settings.

        Raises:
            ConfigError: The model is another one, or the length is out of its range.
        """
        if pad_to_s is None:
            return self
        if self.longest is None:
            raise ConfigError(
                f"pad_to_s={pad_to_s:g} for a model that is not padded to a fixed length",
                expected="null, but for Whisper",
            )
        num_samples = round(pad_to_s * self.frame_rate_hz) * self.step
        max_s = self.longest / self.sampling_rate_hz
        if not self.step <= num_samples <= self.longest:
            raise ConfigError(
                f"pad_to_s={pad_to_s:g}",
                expected=f"null, or seconds above 0 and at most {max_s:g}",
            )
        return replace(self, longest=num_samples)

    def preparation(
        self, max_length_s: float | None, longer: str, normalise: bool | None
    ) -> PreparedWaveform:
        """Returns what is done to each waveform.

        Args:
            max_length_s: Greatest length that the model is given at once, in seconds.
            longer: `windows`, `truncate` or `refuse`.
            normalise: Whether to normalise; None does as the feature extractor says.

        Returns:
            The transform.

        Raises:
            ConfigError: `longer` is unknown, or the length is out of its range.
        """
        if longer not in LONGER:
            raise ConfigError(f"longer is {longer!r}", hint=nearest(longer, LONGER))
        rate = self.sampling_rate_hz
        window = self.longest if max_length_s is None else round(max_length_s * rate)
        if window is not None and not 0.1 * rate <= window <= (self.longest or window):
            most = f" to {self.longest / rate:g}" if self.longest else " on"
            raise ConfigError(
                f"max_length_s={max_length_s}", expected=f"null, or seconds from 0.1{most}"
            )
        if normalise is None:
            normalise = bool(getattr(self.extractor, "do_normalize", False))
        return PreparedWaveform(window, longer, normalise, rate)


def sample_mask_spans(
    real: Bool[Tensor, "batch time"], share: float, span: int
) -> Bool[Tensor, "batch time"]:
    """Draws which frames are hidden: a stretch begins at each frame with the same probability.

    Args:
        real: Which frames there are.
        share: Share of the frames to hide, before overlaps.
        span: Number of frames of a stretch.

    Returns:
        True = hidden; drawn from torch's default generator, so the run's seed fixes it.
    """
    begins = torch.rand(real.shape, device=real.device) < share / span
    padded = functional.pad(begins.float(), (span - 1, 0))
    return (functional.max_pool1d(padded[:, None], span, 1)[:, 0] > 0) & real


def _settings(checkpoint: Checkpoint) -> SpeechSettings:
    import transformers  # here, as it is optional

    checkpoint.family(FAMILIES)
    is_whisper = checkpoint.model_type == WHISPER
    kind: Any = (
        transformers.WhisperFeatureExtractor
        if is_whisper
        else transformers.Wav2Vec2FeatureExtractor
    )
    try:
        extractor = kind.from_pretrained(checkpoint.folder, local_files_only=True)
    except OSError:
        raise CheckpointError(
            f"{checkpoint.folder} has no preprocessor_config.json",
            expected="the settings of the feature extractor beside the weights",
            hint="store them with its save_pretrained, or copy the file from the hub",
        ) from None
    config = transformers.AutoConfig.from_pretrained(
        checkpoint.folder, local_files_only=True, trust_remote_code=False
    )
    step = WHISPER_STRIDE * extractor.hop_length if is_whisper else math.prod(config.conv_stride)
    longest = config.max_source_positions * step if is_whisper else None
    size, num_blocks = config.hidden_size, config.num_hidden_layers
    return SpeechSettings(extractor, size, num_blocks, step, longest)


def _shorten(model: Any, num_frames: int) -> None:
    """Leave out the positions of Whisper's encoder behind the first ones."""
    positions = model.embed_positions.weight[:num_frames].detach().clone()
    shortened = nn.Embedding(len(positions), positions.shape[1], _weight=positions)
    model.embed_positions = shortened.requires_grad_(False)
    model.max_source_positions = model.config.max_source_positions = num_frames


def _check_masking(time_share: float, span_s: float, feature_share: float) -> None:
    if not 0 <= time_share < 1 or not 0 <= feature_share < 1 or span_s <= 0:
        raise ConfigError(
            f"mask_time_share={time_share}, mask_span_s={span_s}, "
            f"mask_feature_share={feature_share}",
            expected="shares from 0 to below 1, and seconds above 0",
        )


def _normalised(sequence: PaddedSequence) -> PaddedSequence:
    """Gives each waveform mean 0 and variance 1 again, over its real samples."""
    mask = sequence.valid_mask
    num = mask.sum(dim=1, keepdim=True).clamp(min=1)
    mean = sequence.values.sum(dim=1, keepdim=True) / num
    centred = (sequence.values - mean).masked_fill(~mask, 0.0)
    variance = centred.square().sum(dim=1, keepdim=True) / num
    return PaddedSequence(centred * (variance + 1e-7).rsqrt(), mask)


def _hiding(mask_time_share: float) -> dict[str, Any]:
    # The vector that stands for a hidden frame exists where the model expects to hide some.
    return {"mask_time_prob": mask_time_share, "mask_feature_prob": 0.0}


def encode_in_windows(
    run: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    sequence: PaddedSequence,
    window: int | None,
    shortest: int,
) -> PaddedSequence:
    """Encodes the stretches of long utterances one by one, and joins what comes out.

    Args:
        run: Stretches `[window, time, ...]` and their lengths to values and mask.
        sequence: The utterances, `[batch, time, ...]`.
        window: Greatest length of a stretch; None for any.
        shortest: Stretches shorter than this are left out, but for the first of an utterance.

    Returns:
        `[batch, time, feature]` and the mask; zeros under the padding.
    """
    stretches, lengths, num_windows = _windows(sequence, window)
    kept = lengths >= shortest
    kept[::num_windows] = True  # there is always one, be the utterance absent
    if num_windows == 1:
        values, mask = run(stretches, lengths)
    else:
        heard = run(stretches[kept], lengths[kept])
        values, mask = (_unflatten_windows(one, kept, num_windows) for one in heard)
    return PaddedSequence(zero_padding(values, mask), mask)


def _windows(
    sequence: PaddedSequence, window: int | None
) -> tuple[Float[Tensor, "window time *feature"], Int[Tensor, " window"], int]:
    """Returns the stretches of all utterances, their lengths, and how many an utterance has."""
    lengths, width = mask_to_lengths(sequence.valid_mask), sequence.valid_mask.shape[1]
    further = [1] * (sequence.values.dim() - 2)
    padding = ~sequence.valid_mask.reshape(*sequence.valid_mask.shape, *further)
    values: Tensor = sequence.values.masked_fill(padding, 0.0)
    if window is None or width <= window:
        return values, lengths, 1
    num = -(-width // window)
    padded = functional.pad(values, (*[0, 0] * len(further), 0, num * window - width))
    begins = torch.arange(num, device=lengths.device) * window
    cut = (lengths[:, None] - begins).clamp(0, window)
    return padded.reshape(-1, window, *values.shape[2:]), cut.reshape(-1), num


def _unflatten_windows(values: Tensor, kept: Tensor, num_windows: int) -> Tensor:
    """Puts the windows that were kept in their places, and joins those of an utterance."""
    whole = values.new_zeros(len(kept), *values.shape[1:])
    whole[kept] = values
    return whole.reshape(-1, num_windows * values.shape[1], *values.shape[2:])


@functools.lru_cache(maxsize=2)
def _frozen_encoder(
    extractor: PretrainedSpeechExtractor, state: tuple[tuple[str, int, int], ...]
) -> PretrainedSpeechEncoder:
    # The state is there for the cache: a model that was written anew is loaded anew.
    encoder = PretrainedSpeechEncoder(
        extractor.name,
        extractor.revision,
        layer=extractor.layer,
        freeze="all",
        max_length_s=extractor.max_length_s,
        longer=extractor.longer,
        normalise_waveform=extractor.normalise_waveform,
        mask_time_share=0.0,
    )
    move_to_device(encoder)
    return encoder
