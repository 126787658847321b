"""One vector a voice: the speaker encoder of Resemblyzer, a package with its weights.

Wan et al., Generalized End-to-End Loss for Speaker Verification, ICASSP 2018 (arXiv 1710.10467).
Only the weights of the package are used: its audio code needs a compiler (webrtcvad) and librosa,
so the mel spectrogram and the network are here. `pip install --no-deps resemblyzer` is enough.

Legend: window = parts of 1.6 s, time = frames of 10 ms, bin = Fourier bins, band = mel bands,
feature = width.
"""

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from polymodal.encoders.extractor import package_version
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.errors import CheckpointError, MissingExtraError

PACKAGE = "resemblyzer"
SAMPLING_RATE_HZ = 16_000
NUM_BANDS, WIDTH, NUM_LAYERS = 40, 256, 3
FRAME_SIZE, HOP_SIZE = 400, 160
WINDOW_FRAMES, STEP_FRAMES = 160, 77
# The last window is dropped if less than this fraction of it is audio.
MIN_COVERAGE = 0.75
MIN_DBFS = -30.0


@dataclass(frozen=True)
class SpeakerExtractor:
    """Speaker embedding of one waveform: the mean over windows of 1.6 s, 0.77 s apart.

    Quiet audio is raised to -30 dBFS first. Silences are kept: Resemblyzer's voice activity
    detection is not applied.

    Raises:
        MissingExtraError: Resemblyzer is not installed.
    """

    source = "audio"
    sampling_rate_hz = SAMPLING_RATE_HZ
    feature_size = WIDTH
    frame_rate_hz = None

    def __post_init__(self) -> None:
        package_version(PACKAGE, PACKAGE)

    @property
    def identity(self) -> str:
        """Name and version of the package of the weights, and the preparation of the audio."""
        return f"{PACKAGE} {package_version(PACKAGE, PACKAGE)} weights, {MIN_DBFS} dBFS, no VAD"

    def __call__(self, raw: Float32[np.ndarray, " sample"]) -> Float32[np.ndarray, "1 feature"]:
        """Embed a waveform at 16 kHz: a vector `[1, feature]` of length 1 without negative values.

        It is zero where no unit is active.
        """
        waveform = torch.from_numpy(_with_min_level(raw))
        starts = window_starts(len(waveform))
        needed = (starts[-1] + WINDOW_FRAMES) * HOP_SIZE
        padded = nn.functional.pad(waveform, (0, max(0, needed - len(waveform))))
        energies = mel_energies(padded)
        windows = torch.stack([energies[start : start + WINDOW_FRAMES] for start in starts])
        with torch.inference_mode():
            mean = _network()(windows).mean(dim=0, keepdim=True)
            return np.asarray(nn.functional.normalize(mean, dim=1).numpy(), dtype=np.float32)


class SpeakerEmbeddingEncoder(FrozenEncoder):
    """Speaker embeddings, 256 wide, stored and standardised; needs the extra `resemblyzer`.

    `normalise=speaker_mean` removes who speaks and leaves how. Options and errors are those of
    `SpeakerExtractor` and `FrozenEncoder`.
    """

    source = "audio"

    def __init__(self, *, normalise: str = "corpus", clip: float | None = 10.0) -> None:
        super().__init__(SpeakerExtractor(), normalise=normalise, clip=clip)


class SpeakerNetwork(nn.Module):
    """Three LSTM layers; the last state, projected and rectified, is the embedding.

    Example:
        >>> SpeakerNetwork()(torch.zeros(2, 160, 40)).shape
        torch.Size([2, 256])
    """

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(NUM_BANDS, WIDTH, NUM_LAYERS, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(
        self, energies: Float[Tensor, "window time band"]
    ) -> Float[Tensor, "window feature"]:
        """Return one vector of length 1 a window; zeros where no unit is active."""
        _, (state, _) = self.lstm(energies)
        return nn.functional.normalize(self.linear(state[-1]).relu(), dim=1)


def window_starts(num_samples: int) -> list[int]:
    """Return the first frame of each window; the last window may reach beyond the audio.

    Example:
        >>> window_starts(16_000), window_starts(48_000)
        ([0], [0, 77, 154])
    """
    num_frames = num_samples // HOP_SIZE + 1
    starts = list(range(0, max(1, num_frames - WINDOW_FRAMES + STEP_FRAMES + 1), STEP_FRAMES))
    covered = num_samples / HOP_SIZE - starts[-1]
    if len(starts) > 1 and covered < MIN_COVERAGE * WINDOW_FRAMES:
        starts.pop()
    return starts


def mel_energies(waveform: Float[Tensor, " sample"]) -> Float[Tensor, "time band"]:
    """Return the mel energies (not their logarithm) that the network was trained on.

    There is a frame every 10 ms, centred on its time.

    Example:
        >>> mel_energies(torch.zeros(16_000)).shape
        torch.Size([101, 40])
    """
    window = torch.hann_window(FRAME_SIZE)
    spectrum = torch.stft(
        waveform, FRAME_SIZE, HOP_SIZE, window=window, pad_mode="constant", return_complex=True
    )
    return spectrum.abs().square().T @ _filters()


@functools.lru_cache(maxsize=1)
def _filters() -> Float[Tensor, "bin band"]:
    """Return triangles of equal area on Slaney's scale: linear below 1 kHz, logarithmic above."""
    bins_hz = np.linspace(0, SAMPLING_RATE_HZ / 2, FRAME_SIZE // 2 + 1)
    highest = 15 + np.log(SAMPLING_RATE_HZ / 2 / 1000) * 27 / np.log(6.4)
    mels = np.linspace(0, highest, NUM_BANDS + 2)
    edges_hz = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - low) / (centre - low)
    falling = (high - bins_hz[:, None]) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return torch.from_numpy(triangles.astype(np.float32))


def _with_min_level(raw: Float32[np.ndarray, " sample"]) -> Float32[np.ndarray, " sample"]:
    level = float(np.sqrt(np.square(raw, dtype=np.float64).mean())) if len(raw) else 0.0
    minimum = 10 ** (MIN_DBFS / 20)
    gain = minimum / level if 0 < level < minimum else 1.0
    return (raw * gain).astype(np.float32)


def _network() -> SpeakerNetwork:
    # The package is found without importing it: its dependencies may be missing.
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise MissingExtraError(PACKAGE, PACKAGE)
    return _load_network(Path(package.submodule_search_locations[0]) / "pretrained.pt")


@functools.lru_cache(maxsize=1)
def _load_network(path: Path) -> SpeakerNetwork:
    network = SpeakerNetwork()
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        network.load_state_dict({name: stored[name] for name in network.state_dict()})
    except (OSError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights {path} cannot be used: {error}",
            hint="pip install --no-deps --force-reinstall resemblyzer",
        ) from None
    return network.eval()
