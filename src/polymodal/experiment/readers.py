"""Which utterances have what an encoder reads, and how it is read."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Literal

import numpy as np
import polars as pl

from polymodal.data.audio import AudioReader
from polymodal.data.signals import SignalReader
from polymodal.encoders.base import Encoder
from polymodal.encoders.extractor import Extractor
from polymodal.errors import ConfigError, ManifestError, nearest
from polymodal.schemas.manifest import Manifest, Utterance

POLICIES = ("absent", "drop", "refuse")
HAS_SOURCE: Mapping[str, pl.Expr] = {
    "audio": pl.col("audio").is_not_null(),
    "text": pl.col("text").fill_null("").str.strip_chars() != "",
    "signals": pl.col("signals").list.len().fill_null(0) > 0,
}


class StoredReader:
    """Reads the features of an utterance that were computed before.

    Args:
        features: Id to `[time, feature]`, float32.
    """

    def __init__(self, features: Mapping[str, np.ndarray]) -> None:
        self.features = features

    def __call__(self, utterance: Utterance) -> np.ndarray | None:
        """Return the features, or None if the utterance lacks the modality."""
        return self.features.get(utterance.utterance_id)


class LazyRead:
    """A read that waits: worker processes of the extraction get it pickled.

    Args:
        source: Utterance to raw value.
        utterance: The utterance.
    """

    def __init__(self, source: Callable[[Utterance], Any], utterance: Utterance) -> None:
        self.source, self.utterance = source, utterance

    def __call__(self) -> Any:
        """Read the utterance."""
        return self.source(self.utterance)


def build_reader(
    encoder: Encoder | Extractor,
    manifest: Manifest,
    *,
    channels: Literal["mix", "first"],
    cache_mb: float = 0,
) -> Callable[[Utterance], Any]:
    """Return what reads the waveform, text or signals of an utterance for an encoder.

    Args:
        encoder: The encoder, or what computes its features.
        manifest: The corpus.
        channels: What to do with several channels of audio: `data.channels`.
        cache_mb: Megabytes of decoded audio to keep in memory.

    Returns:
        Utterance to raw value; None where the utterance has none.
    """
    if encoder.source == "audio":
        return AudioReader(
            manifest.root,
            sampling_rate_hz=encoder.sampling_rate_hz,
            channels=channels,
            cache_mb=cache_mb,
        )
    if encoder.source == "signals":
        return SignalReader(manifest.signals_folder)
    return attrgetter("text")


def apply_missing_policy(
    manifest: Manifest, encoders: Mapping[str, Encoder], policy: str
) -> Manifest:
    """Drop or reject utterances that lack a modality, as `data.missing` says.

    Args:
        manifest: The corpus.
        encoders: Modality to its encoder.
        policy: `absent` keeps them, `drop` leaves them out, `refuse` allows none.

    Returns:
        The corpus without the dropped utterances.

    Raises:
        ConfigError: The policy is unknown.
        ManifestError: No utterance has a modality, or some lack one and none may.
    """
    if policy not in POLICIES:
        raise ConfigError(f"data.missing={policy}", hint=nearest(policy, POLICIES))
    frame = manifest.frame
    for name, encoder in encoders.items():
        if not frame.select(HAS_SOURCE[encoder.source]).to_series().any():
            raise ManifestError(
                f"no utterance of the corpus has {encoder.source}, which encoder.{name} reads",
                hint="choose another encoder or corpus",
            )
    sources = sorted({encoder.source for encoder in encoders.values()})
    is_complete = frame.select(
        pl.all_horizontal(HAS_SOURCE[source] for source in sources)
    ).to_series()
    incomplete = frame.filter(~is_complete)
    if policy == "absent" or incomplete.is_empty():
        return manifest
    if policy == "refuse" or incomplete.height == frame.height:
        raise ManifestError(
            f"{incomplete.height} of {frame.height} utterances lack a modality, such as "
            f"{incomplete['utterance_id'][0]!r}",
            expected=f"{', '.join(sources)} in every row (data.missing={policy})",
            hint="use data.missing=drop to leave them out, or absent to let the model cope",
        )
    return manifest.take(frame.filter(is_complete))
