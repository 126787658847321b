"""The families of pretrained speech models, their settings, and the preparation of waveforms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from polymodal.encoders.huggingface.checkpoint import Checkpoint, Family
from polymodal.encoders.huggingface.inputs import WHISPER_STRIDE
from polymodal.errors import CheckpointError, ConfigError, DataError, nearest

# Blocks that are dropped at random (layerdrop) would shift the numbers of the layers.
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
        plain=False,  # all blocks use the positions of the first one
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
LONGER = ("windows", "truncate", "refuse")


@dataclass(frozen=True)
class PreparedWaveform:
    """Cut (or reject) and normalise one waveform.

    Example:
        >>> PreparedWaveform(2, "truncate", True, 16000)(np.array([0.0, 2.0, 5.0])).round(3)
        array([-1.,  1.], dtype=float32)
    """

    window: int | None  # maximum number of samples of the model's input; None for any
    longer: str  # `windows`, `truncate` or `refuse`
    normalise: bool  # whether the waveform gets mean 0 and variance 1
    sampling_rate_hz: int

    @property
    def identity(self) -> str:
        """All options."""
        return str(self)

    def __call__(self, waveform: Any) -> npt.NDArray[np.float32] | None:
        """Return the float32 waveform `[sample]` for the model; None without samples.

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
class SpeechSettings:
    """The settings of a speech model, from the files beside its weights."""

    extractor: Any  # its feature extractor
    feature_size: int  # width of its output
    num_blocks: int  # number of its transformer blocks
    step: int  # samples from one vector to the next
    longest: int | None  # for Whisper: fixed length of its input in samples; None for others

    @property
    def sampling_rate_hz(self) -> int:
        """Sampling rate of the model, in Hz."""
        return int(self.extractor.sampling_rate)

    @property
    def frame_rate_hz(self) -> float:
        """Vector per second."""
        return self.sampling_rate_hz / self.step

    def padded_to(self, pad_to_s: float | None) -> "SpeechSettings":
        """Return the settings of a Whisper with an input of `pad_to_s` seconds; None for all.

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
        if not self.step <= num_samples <= self.longest:
            max_s = self.longest / self.sampling_rate_hz
            expected = f"null, or seconds above 0 and at most {max_s:g}"
            raise ConfigError(f"pad_to_s={pad_to_s:g}", expected=expected)
        return replace(self, longest=num_samples)

    def preparation(
        self, max_length_s: float | None, longer: str, normalise: bool | None
    ) -> PreparedWaveform:
        """Return the preparation of waveforms; `normalise=None` does as the feature extractor says.

        Raises:
            ConfigError: `longer` is unknown, or the length is out of its range.
        """
        if longer not in LONGER:
            raise ConfigError(f"longer is {longer!r}", hint=nearest(longer, LONGER))
        rate = self.sampling_rate_hz
        window = self.longest if max_length_s is None else round(max_length_s * rate)
        if window is not None and not 0.1 * rate <= window <= (self.longest or window):
            upper = f" to {self.longest / rate:g}" if self.longest else " on"
            raise ConfigError(
                f"max_length_s={max_length_s}", expected=f"null, or seconds from 0.1{upper}"
            )
        if normalise is None:
            normalise = bool(getattr(self.extractor, "do_normalize", False))
        return PreparedWaveform(window, longer, normalise, rate)


def read_settings(checkpoint: Checkpoint) -> SpeechSettings:
    """Read the settings of a speech model from the files beside its weights.

    Raises:
        CheckpointError: The settings of its feature extractor are missing.
        ConfigError: Its architecture is unknown.
    """
    import transformers  # here, as it is optional

    checkpoint.family(FAMILIES)
    is_whisper = checkpoint.model_type == WHISPER
    kind: Any = transformers.Wav2Vec2FeatureExtractor
    if is_whisper:
        kind = transformers.WhisperFeatureExtractor
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
