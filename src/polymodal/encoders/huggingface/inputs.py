"""The input of pretrained speech models: the waveform or its log-mel spectrum, and lengths.

The normalisation over time of the base models of wav2vec 2.0 and the stacked convolutions of
data2vec, which see padding in transformers, get the lengths here and see real frames only.

Legend: batch = utterances, window = stretches of at most `max_length_s`, time = frames, sample =
samples, channel = channels of a convolution, band = mel bands, feature = width.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import ConfigError
from polymodal.layers.masks import lengths_to_mask

Samples = Float[Tensor, "window sample"]
Lengths = Int[Tensor, " window"]
FrameMask = Bool[Tensor, "window time"]
FeatureMask = Bool[Tensor, "window feature"]
Channels = Float[Tensor, "batch channel time"]
# Whisper's two convolutions: a vector for every two mel frames.
WHISPER_STRIDE = 2


class WaveformInput(nn.Module):
    """The input of the families of wav2vec 2.0: the waveform, and its mask.

    The two modules of the model that would see padding are replaced by masked ones.

    Raises:
        ConfigError: The model has a batch normalisation that would see padding.
    """

    def __init__(self, model: Any, sampling_rate_hz: int) -> None:
        super().__init__()
        kernels, strides = model.config.conv_kernel, model.config.conv_stride
        if getattr(model.config, "conv_pos_batch_norm", False):
            raise ConfigError(
                "the model normalises its positions over the batch (conv_pos_batch_norm)",
                expected="a model whose output does not depend on the padding",
            )
        self.rate_hz = sampling_rate_hz / math.prod(strides)
        self.num_features = int(model.config.hidden_size)
        self._masked_features: Tensor | None = None
        model.encoder.register_forward_pre_hook(self._zero_features)
        self.shortest = receptive_field(kernels, strides)
        self._num_frames = model._get_feat_extract_output_lengths
        first, self._norms = model.feature_extractor.conv_layers[0], []
        if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
            first.layer_norm = MaskedGroupNorm(first.layer_norm, kernels[0], strides[0])
            # The activations would be computed again with another batch's lengths.
            first.gradient_checkpointing = False
            self._norms = [first.layer_norm]
        layers = getattr(model.encoder.pos_conv_embed, "layers", ())
        for layer in layers:
            layer.activation = MaskedActivation(layer.activation)
        self._positions = [layer.activation for layer in layers]

    def forward(self, samples: Samples, lengths: Lengths) -> tuple[dict[str, Any], FrameMask]:
        """Return the arguments of the model, and the mask of its output."""
        samples = functional.pad(samples, (0, max(0, self.shortest - samples.shape[1])))
        # An absent window has a frame of silence, so that attention is not empty.
        audible = lengths.clamp(min=self.shortest)
        num_frames = self._num_frames(audible)
        for norm in self._norms:
            norm.lengths = audible
        for activation in self._positions:
            activation.lengths = num_frames
        attended = lengths_to_mask(audible, samples.shape[1])
        width = int(self._num_frames(torch.tensor(samples.shape[1])))
        mask = lengths_to_mask(num_frames, width) & (lengths > 0)[:, None]
        return {"input_values": samples, "attention_mask": attended.long()}, mask

    def num_frames(self, num_samples: int) -> int:
        """Return the number of frames of `num_samples` samples."""
        return int(self._num_frames(torch.tensor(max(num_samples, self.shortest))))

    def prepare_suffix(self, num_frames: Lengths, width: int) -> tuple[FrameMask, FrameMask]:
        """Prepare the model to continue from frames of the given numbers, padded to `width`."""
        audible = num_frames.clamp(min=1)
        for activation in self._positions:
            activation.lengths = audible
        attended = lengths_to_mask(audible, width)
        return attended, attended & (num_frames > 0)[:, None]

    def project(
        self,
        model: Any,
        frames: Float[Tensor, "window time channel"],
        masked: FrameMask | None,
        features: FeatureMask | None,
    ) -> Float[Tensor, "window time feature"]:
        """Compute what the model does between its convolutions and its transformer."""
        result = model.feature_projection(frames)
        # In some models the normalised frames come with it.
        projected: Tensor = result[0] if isinstance(result, tuple) else result
        if masked is not None:
            vector = model.masked_spec_embed.to(projected.dtype)
            projected = torch.where(masked[..., None], vector, projected)
        self._masked_features = features
        return projected

    def maskable(self, mask: FrameMask) -> FrameMask:
        """Return which frames may be masked in training."""
        return mask

    def mask(
        self, inputs: dict[str, Any], frames: FrameMask | None, features: FeatureMask | None
    ) -> dict[str, Any]:
        """Return the arguments of the model with `frames` replaced by its vector for masked frames.

        `features` of the projected frames are set to zero.
        """
        self._masked_features = features
        return {**inputs, "mask_time_indices": frames}

    def _zero_features(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        if self._masked_features is None:
            return None
        return (inputs[0].masked_fill(self._masked_features[:, None], 0.0),)


class WhisperInput(nn.Module):
    """The input of Whisper: the log-mel spectrum of 30 s, with silence behind the utterance.

    `extractor` is its feature extractor, for the settings of the spectrum, `num_samples` the fixed
    length of its input.
    """

    filters: Tensor
    shortest = 1

    def __init__(self, extractor: Any, num_samples: int) -> None:
        super().__init__()
        self.hop, self.window_size = int(extractor.hop_length), int(extractor.n_fft)
        self.rate_hz = extractor.sampling_rate / self.hop
        self.num_features = int(extractor.feature_size)
        self.num_samples = num_samples
        filters = torch.from_numpy(np.asarray(extractor.mel_filters, dtype=np.float32))
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, samples: Samples, lengths: Lengths) -> tuple[dict[str, Any], FrameMask]:
        """Return the arguments of the model, and the mask of its output."""
        step = self.hop * WHISPER_STRIDE
        width = max(1, -(-samples.shape[1] // step))
        mask = lengths_to_mask(-(-lengths // step), width)
        return {"input_features": self._log_mel(samples)}, mask

    def maskable(self, mask: FrameMask) -> Bool[Tensor, "window mel_time"]:
        """Return which frames of the spectrum may be masked in training."""
        return mask.repeat_interleave(WHISPER_STRIDE, dim=1)

    def mask(
        self,
        inputs: dict[str, Any],
        frames: Bool[Tensor, "window mel_time"] | None,
        features: Bool[Tensor, "window band"] | None,
    ) -> dict[str, Any]:
        """Return the arguments of the model with frames and bands of the spectrum set to zero."""
        spectrum = inputs["input_features"]
        if frames is not None:
            padded = functional.pad(frames, (0, spectrum.shape[2] - frames.shape[1]))
            spectrum = spectrum.masked_fill(padded[:, None], 0.0)
        if features is not None:
            spectrum = spectrum.masked_fill(features[:, :, None], 0.0)
        return {"input_features": spectrum}

    def _log_mel(self, samples: Samples) -> Float[Tensor, "window band mel_time"]:
        padded = functional.pad(samples.float(), (0, self.num_samples - samples.shape[1]))
        window = torch.hann_window(self.window_size, device=samples.device)
        spectrum = torch.stft(
            padded, self.window_size, self.hop, window=window, return_complex=True
        )
        with torch.autocast(samples.device.type, enabled=False):
            energies = self.filters.T @ spectrum[..., :-1].abs().square()
        decades = energies.clamp(min=1e-10).log10()
        # 80 dB below the loudest point of the utterance is the floor.
        floor = decades.amax(dim=(1, 2), keepdim=True) - 8.0
        return (torch.maximum(decades, floor) + 4.0) / 4.0


class MaskedGroupNorm(nn.Module):
    """Normalisation of each channel over the real frames of its utterance.

    It replaces `norm`, with the same parameters, behind a convolution of width `kernel` and step
    `stride` in samples. `lengths`, the number of real samples of each utterance, is set before each
    call.

    Example:
        >>> masked = MaskedGroupNorm(nn.GroupNorm(1, 1), kernel=1, stride=1).requires_grad_(False)
        >>> masked.lengths = torch.tensor([2])
        >>> masked(torch.tensor([[[1.0, 3.0, 9.0]]])).round().tolist()
        [[[-1.0, 1.0, 0.0]]]
    """

    lengths: Tensor

    def __init__(self, norm: nn.GroupNorm, kernel: int, stride: int) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.kernel, self.stride = kernel, stride

    def forward(self, frames: Channels) -> Channels:
        """Return the normalised frames, without meaning behind the real ones."""
        counts = torch.div(self.lengths - self.kernel, self.stride, rounding_mode="floor") + 1
        with torch.autocast(frames.device.type, enabled=False):
            if frames.device.type == "cpu" and not frames.requires_grad:
                return self.normalise_rows(frames.float(), counts).to(frames.dtype)
            return self.normalise_batch(frames.float(), counts).to(frames.dtype)

    def normalise_rows(self, frames: Channels, counts: Int[Tensor, " batch"]) -> Channels:
        """Normalise row by row with PyTorch's kernel, which is faster on a CPU."""
        normalised = torch.zeros_like(frames)
        for row, (channels, num) in enumerate(zip(frames, counts.tolist(), strict=True)):
            real = channels[None, :, :num]
            normalised[row, :, :num] = torch.group_norm(
                real, len(channels), self.weight, self.bias, self.eps
            )[0]
        return normalised

    def normalise_batch(self, values: Channels, counts: Int[Tensor, " batch"]) -> Channels:
        """Normalise without reading the lengths, which the host would wait for on a GPU."""
        real = lengths_to_mask(counts, values.shape[2])[:, :, None].to(values.dtype)
        num = counts[:, None, None]
        # Products with the mask, as each pass over these large arrays is expensive.
        mean = values @ real / num
        variance = (values - mean).square() @ real / num
        scale = self.weight[:, None] * (variance + self.eps).rsqrt()
        return torch.addcmul(self.bias[:, None] - mean * scale, values, scale)


class MaskedActivation(nn.Module):
    """An activation with zeros behind the real frames, as at the end of an utterance alone.

    `lengths`, the number of real frames of each utterance, is set before each call.
    """

    lengths: Tensor

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, frames: Channels) -> Channels:
        """Return the activated frames."""
        padding = ~lengths_to_mask(self.lengths, frames.shape[2])
        activated: Tensor = self.activation(frames)
        return activated.masked_fill(padding[:, None], 0.0)


def receptive_field(kernels: list[int], strides: list[int]) -> int:
    """Return how many samples a stack of convolutions needs for one frame.

    Example:
        >>> receptive_field([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2])
        400
    """
    needed = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        needed = (needed - 1) * stride + kernel
    return needed
