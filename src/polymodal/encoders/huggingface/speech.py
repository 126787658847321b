"""Pretrained speech encoders: HuBERT, wav2vec 2.0, WavLM, data2vec, and the encoder of Whisper.

Hsu et al. 2021 (arXiv 2106.07447), Baevski et al. 2020 (arXiv 2006.11477), Chen et al. 2022 (arXiv
2110.13900), Baevski et al. 2022 (arXiv 2202.03555), Radford et al. 2022 (arXiv 2212.04356).

Legend: batch = utterances, window = stretches of at most `max_length_s`, time = frames, sample =
samples, channel = channels of a convolution, band = mel bands, feature = width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from polymodal.encoders.extractor import Prefix
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.encoders.huggingface.backbone import Backbone
from polymodal.encoders.huggingface.checkpoint import WeightsInFolder, locate
from polymodal.encoders.huggingface.encoder import PretrainedEncoder, at_least_one_frame
from polymodal.encoders.huggingface.extractor import PretrainedExtractor
from polymodal.encoders.huggingface.inputs import (
    FeatureMask,
    FrameMask,
    Lengths,
    Samples,
    WaveformInput,
    WhisperInput,
)
from polymodal.encoders.huggingface.prefix import STEM
from polymodal.encoders.huggingface.speech_settings import (
    FAMILIES,
    PreparedWaveform,
    SpeechSettings,
    read_settings,
)
from polymodal.encoders.huggingface.windows import encode_in_windows
from polymodal.errors import ConfigError
from polymodal.layers.masks import zero_padding
from polymodal.layers.specaugment import sample_mask_spans
from polymodal.layers.waveform_augment import waveform_changes
from polymodal.schemas.batch import PaddedSequence

Encoded = tuple[Float[Tensor, "window time feature"], FrameMask]
# Neighbouring features that are masked together.
FEATURE_SPAN = 10


class PretrainedSpeechEncoder(PretrainedEncoder):
    """Waveform to the vectors of a pretrained model, 50 per second in all common ones.

    The output for an utterance does not depend on the batch: the normalisation over time of the
    base models (`feat_extract_norm="group"`) and the stacked positional convolutions of data2vec,
    which see padding in transformers, see the real frames only here. Whisper always gets 30 s with
    silence behind the utterance, as it was trained; the frames of that silence are masked. Dropping
    whole blocks in training (layer drop) is off.

    The frozen prefix can be stored and read (`prefix`). Frames and features are masked behind the
    convolutions, so that with masking only these are stored, even where blocks are frozen.

    Args:
        name: A folder, or a name of the hub such as `facebook/hubert-base-ls960`. The weights have
            to be safetensors.
        revision: Commit, tag or branch of the hub; the commit is resolved and recorded.
        layer: `last`, the number of a block, or `weighted` (see `Backbone`).
        freeze: `none`; `convolutions`; a number N = all before the blocks and the first N blocks;
            `all`.
        lora: Options of peft's `LoraConfig`: only the adapters are trained then; None for none.
        gradient_checkpointing: Whether to save memory and spend time.
        layer_decay: Learning rates fall by this factor from block to block, from the head down
            (see `Backbone`); None for one rate.
        max_length_s: Maximum length of the model's input, in seconds; for Whisper at most 30 (or
            `pad_to_s`), which None stands for.
        longer: What to do with a longer utterance: `windows` = encode windows one by one and join
            them; `truncate` = keep its beginning; `refuse`.
        normalise_waveform: Whether each utterance gets mean 0 and variance 1; None does as the
            model's feature extractor says.
        mask_time_fraction: Fraction of the time that is masked in training (SpecAugment, Park et
            al. 2019, arXiv 1904.08779; in spans as wav2vec 2.0 does); 0 for none.
        mask_span_s: Length of a masked span, in seconds.
        mask_feature_fraction: Fraction of the features (of Whisper's mel bands) that are zero in
            training, in spans of 10, drawn for each utterance; 0 for none.
        waveform_augment: Changes of the waveform in training: options of `WaveformAugment`; None
            for none.
        pad_to_s: Whisper only: length of its input in seconds, the silence behind an utterance
            included; None for the 30 s that it was trained with. Its blocks take time and memory
            in proportion.

    Raises:
        ConfigError: An option is out of its range, or there is no model of this name.
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
        mask_time_fraction: float = 0.05,
        mask_span_s: float = 0.2,
        mask_feature_fraction: float = 0.0,
        waveform_augment: Mapping[str, Any] | None = None,
        layer_decay: float | None = None,
        pad_to_s: float | None = None,
    ) -> None:
        super().__init__()
        _check_masking(mask_time_fraction, mask_span_s, mask_feature_fraction)
        self.checkpoint = locate(name, revision)
        family = self.checkpoint.family(FAMILIES)
        settings = read_settings(self.checkpoint).padded_to(pad_to_s)
        self.pad_to_s = pad_to_s
        self.feature_size, self.frame_rate_hz = settings.feature_size, settings.frame_rate_hz
        self.sampling_rate_hz = settings.sampling_rate_hz
        self.prepare = settings.preparation(max_length_s, longer, normalise_waveform)
        normalised = self.prepare.normalise
        self.waveform_augment = waveform_changes(waveform_augment, normalised=normalised)
        self.augments_waveform = self.waveform_augment.is_on
        self.mask_time_fraction, self.mask_span_s = mask_time_fraction, mask_span_s
        self.mask_feature_fraction, self.layer = mask_feature_fraction, layer
        # The vector of masked frames exists only in a model that expects to mask frames.
        masking = {"mask_time_prob": mask_time_fraction, "mask_feature_prob": 0.0}
        self.backbone = Backbone(
            self.checkpoint,
            family,
            stem="convolutions",
            layer=layer,
            freeze=freeze,
            lora=lora,
            gradient_checkpointing=gradient_checkpointing,
            layer_decay=layer_decay,
            **({} if settings.longest else masking),
        )
        if settings.longest and pad_to_s is not None:
            _shorten(self.backbone.model, settings.longest // settings.step)
        # Spans are drawn here: transformers draws them from numpy, whose seed a resumed run lacks,
        # and fails where an utterance is shorter than a span.
        self.backbone.model.config.apply_spec_augment = True
        self.input: WhisperInput | WaveformInput = (
            WhisperInput(settings.extractor, settings.longest)
            if settings.longest
            else WaveformInput(self.backbone.model, self.sampling_rate_hz)
        )

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return `[batch, time, feature_size]` for waveforms `[batch, sample]`.

        A waveform shorter than a frame is padded with silence.
        """
        if self.reads_prefix:
            return self._forward_from_prefix(sequence)
        changed = self._augmented(sequence)
        return encode_in_windows(self._encode, changed, self.prepare.window, self.input.shortest)

    def prefix(self, precision: str) -> Prefix | str | None:
        """Return the extractor of the frozen prefix: see `Encoder.prefix`."""
        depth = self._prefix_depth
        if depth is None:
            return None
        if self.augments_waveform:
            return "waveform_augment changes the waveforms"
        if isinstance(self.input, WhisperInput) and depth != len(self.backbone.blocks):
            return "Whisper's blocks also hear the silence up to 30 s, too much to store"
        return self._prefix_extractor(precision)

    @property
    def prefix_size(self) -> int:
        """Width of the output of the frozen prefix."""
        config = self.backbone.model.config
        return int(config.conv_dim[-1] if self._prefix_depth == STEM else config.hidden_size)

    @property
    def prefix_end(self) -> str:
        """Where the frozen prefix ends, in words."""
        return "convolutions" if self._prefix_depth == STEM else super().prefix_end

    def encode_prefix(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return the output of the frozen prefix: see `PretrainedEncoder`."""
        window, shortest = self.prepare.window, self.input.shortest
        return encode_in_windows(self._encode_prefix, sequence, window, shortest)

    @property
    def _input_identity(self) -> str:
        padding = "" if self.pad_to_s is None else f" pad_to_s {self.pad_to_s:g}"
        return f"{self.prepare.identity}{padding}"

    @property
    def _prefix_depth(self) -> int | None:
        depth = self.backbone.prefix_depth
        is_masking = self.mask_time_fraction + self.mask_feature_fraction > 0
        return STEM if depth is not None and is_masking and not self.backbone.frozen else depth

    def _encode_prefix(self, samples: Samples, lengths: Lengths) -> Encoded:
        assert self._prefix_depth is not None, "nothing is frozen"
        inputs, mask = self.input(samples, lengths)
        values = self.backbone.forward_prefix(self._prefix_depth, **inputs)
        return values[:, : mask.shape[1]], mask

    def _forward_from_prefix(self, sequence: PaddedSequence) -> PaddedSequence:
        states, mask = at_least_one_frame(sequence)
        if self._prefix_depth == len(self.backbone.blocks):
            return PaddedSequence(zero_padding(states, mask), mask)
        assert isinstance(self.input, WaveformInput), "within Whisper's blocks nothing is stored"
        window = self.prepare.window and self.input.num_frames(self.prepare.window)
        return encode_in_windows(self._encode_suffix, PaddedSequence(states, mask), window, 1)

    def _encode_suffix(
        self, states: Float[Tensor, "window time prefix"], num_frames: Lengths
    ) -> Encoded:
        depth, model_input = self._prefix_depth, self.input
        assert depth is not None, "nothing is frozen"
        assert isinstance(model_input, WaveformInput), "within Whisper's blocks nothing is stored"
        attended, mask = model_input.prepare_suffix(num_frames, states.shape[1])
        if depth == STEM:
            states = model_input.project(self.backbone.model, states, *self._masked(mask))
        return self.backbone.forward_suffix(depth, states, attended), mask

    def _augmented(self, sequence: PaddedSequence) -> PaddedSequence:
        if not (self.training and self.augments_waveform):
            return sequence
        changed: PaddedSequence = self.waveform_augment(sequence)
        if self.prepare.longer != "windows" and self.prepare.window is not None:
            window = slice(self.prepare.window)  # slowed-down audio may be too long
            changed = PaddedSequence(changed.values[:, window], changed.valid_mask[:, window])
        return _normalised(changed) if self.prepare.normalise else changed

    def _encode(self, samples: Samples, lengths: Lengths) -> Encoded:
        inputs, mask = self.input(samples, lengths)
        values = self.backbone(**self.input.mask(inputs, *self._masked(mask)))
        return values[:, : mask.shape[1]], mask

    def _masked(
        self, mask: FrameMask
    ) -> tuple[Bool[Tensor, "window _"] | None, FeatureMask | None]:
        """Draw the frames and the features that are masked in training."""
        frames = features = None
        is_masking = self.training and not self.backbone.frozen
        if is_masking and self.mask_time_fraction > 0:
            span = max(1, round(self.mask_span_s * self.input.rate_hz))
            frames = sample_mask_spans(self.input.maskable(mask), self.mask_time_fraction, span)
        if is_masking and self.mask_feature_fraction > 0:
            maskable = mask.new_ones(len(mask), self.input.num_features)
            features = sample_mask_spans(maskable, self.mask_feature_fraction, FEATURE_SPAN)
        return frames, features


@dataclass(frozen=True)
class PretrainedSpeechExtractor(PretrainedExtractor):
    """The vectors of a frozen pretrained speech model: see `PretrainedExtractor`.

    `max_length_s`, `longer` and `normalise_waveform` are as of `PretrainedSpeechEncoder`.
    """

    max_length_s: float | None = 30.0
    longer: str = "windows"
    normalise_waveform: bool | None = None
    source = "audio"
    families = FAMILIES

    @property
    def sampling_rate_hz(self) -> int:
        """Sampling rate of the model, in Hz."""
        return int(self.settings.sampling_rate_hz)

    @property
    def frame_rate_hz(self) -> float | None:
        """Vector per second; None for one vector an utterance."""
        return float(self.settings.frame_rate_hz) if self.pooling == "none" else None

    def _read_settings(self) -> SpeechSettings:
        return read_settings(self.checkpoint)

    def _preparation(self) -> PreparedWaveform:
        settings: SpeechSettings = self.settings
        return settings.preparation(self.max_length_s, self.longer, self.normalise_waveform)

    def _build_encoder(self) -> PretrainedSpeechEncoder:
        return PretrainedSpeechEncoder(
            self.name,
            self.revision,
            layer=self.layer,
            freeze="all",
            max_length_s=self.max_length_s,
            longer=self.longer,
            normalise_waveform=self.normalise_waveform,
            mask_time_fraction=0.0,
        )


class PretrainedSpeechEmbeddings(WeightsInFolder, FrozenEncoder):
    """The vectors of a pretrained speech model that is not trained, stored and standardised.

    The options are those of `PretrainedExtractor` (the middle layers often suit emotions best), and
    of `PretrainedSpeechEncoder` and `FrozenEncoder`; so are the errors.
    """

    source = "audio"

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
            name,
            revision,
            layer,
            pooling,
            max_length_s,
            longer,
            normalise_waveform,
            precision=precision,
        )
        super().__init__(extractor, normalise=normalise, clip=clip)


def _shorten(model: Any, num_frames: int) -> None:
    """Drop the positions of Whisper's encoder behind the first `num_frames`."""
    positions = model.embed_positions.weight[:num_frames].detach().clone()
    shortened = nn.Embedding(len(positions), positions.shape[1], _weight=positions)
    model.embed_positions = shortened.requires_grad_(False)
    model.max_source_positions = model.config.max_source_positions = num_frames


def _check_masking(time_fraction: float, span_s: float, feature_fraction: float) -> None:
    if not 0 <= time_fraction < 1 or not 0 <= feature_fraction < 1 or span_s <= 0:
        raise ConfigError(
            f"mask_time_fraction={time_fraction}, mask_span_s={span_s}, "
            f"mask_feature_fraction={feature_fraction}",
            expected="fractions from 0 to below 1, and seconds above 0",
        )


def _normalised(sequence: PaddedSequence) -> PaddedSequence:
    """Give each waveform mean 0 and variance 1 again, over its real samples."""
    mask = sequence.valid_mask
    num = mask.sum(dim=1, keepdim=True).clamp(min=1)
    mean = sequence.values.sum(dim=1, keepdim=True) / num
    centred = (sequence.values - mean).masked_fill(~mask, 0.0)
    variance = centred.square().sum(dim=1, keepdim=True) / num
    return PaddedSequence(centred * (variance + 1e-7).rsqrt(), mask)
