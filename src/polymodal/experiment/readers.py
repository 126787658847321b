"""Which utterances have what an encoder reads, and how it is read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
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
    "audio": pl.col("audio").fill_null("") != "",
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


class ReadFeatures(Mapping[str, np.ndarray]):
    """Utterance id to features `[time, feature]`, read on access; without those that lack them.

    Args:
        manifest: The utterances.
        read: Utterance to its features; None where it has none.
    """

    def __init__(self, manifest: Manifest, read: Callable[[Utterance], np.ndarray | None]) -> None:
        self.manifest, self.read = manifest, read
        self.rows = {name: row for row, name in enumerate(manifest.frame["utterance_id"])}

    def __getitem__(self, utterance_id: str) -> np.ndarray:
        values = self.read(self.manifest.utterance(self.rows[utterance_id]))
        if values is None:
            raise KeyError(utterance_id)
        return values

    def __iter__(self) -> Iterator[str]:
        return (name for name in self.rows if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


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
        names = encoder.signals if isinstance(encoder, Encoder) else ()
        return SignalReader(manifest.signals_folder, names)
    return attrgetter("text")


def inputs_of(source: str, signals: Sequence[str]) -> dict[str, pl.Expr]:
    """Return what an encoder reads, each with which rows of a manifest have it.

    `source` and `signals` are those of the encoder. What is read is `audio`, `text` or `signals`,
    or the signals by name.
    """
    if source != "signals" or not signals:
        return {source: HAS_SOURCE[source]}
    return {name: _has_signal(name) for name in signals}


def _has_signal(name: str) -> pl.Expr:
    is_named = pl.element().struct.field("name") == name
    has_values = pl.element().struct.field("length").fill_null(1) > 0  # null: to the file's end
    return pl.col("signals").list.eval(is_named & has_values).list.any().fill_null(False)


def count_lacking(frame: pl.DataFrame, encoders: Mapping[str, Encoder]) -> dict[str, int]:
    """Return how many rows lack something that an encoder reads, by modality.

    Of an encoder that reads several signals each is counted as well, as `modality.signal`.
    """
    incomplete: dict[str, pl.Expr] = {}
    for name, encoder in encoders.items():
        inputs = inputs_of(encoder.source, encoder.signals)
        incomplete[name] = ~pl.all_horizontal(*inputs.values())
        if len(inputs) > 1:
            incomplete |= {f"{name}.{signal}": ~has_signal for signal, has_signal in inputs.items()}
    counts = frame.select(is_so.sum().alias(name) for name, is_so in incomplete.items())
    return dict(counts.row(0, named=True)) if incomplete else {}


def apply_missing_policy(
    manifest: Manifest, encoders: Mapping[str, Encoder], policy: str
) -> Manifest:
    """Drop or reject utterances that lack something that an encoder reads.

    Args:
        manifest: The corpus.
        encoders: Modality to its encoder.
        policy: `absent` keeps them, `drop` leaves them out, `refuse` allows none; the option
            `data.missing`.

    Returns:
        The corpus without the dropped utterances, whose number is in `handled`.

    Raises:
        ConfigError: The policy is unknown.
        ManifestError: No utterance has anything that an encoder reads, or some lack a part of it
            and none may.
    """
    if policy not in POLICIES:
        raise ConfigError(f"data.missing={policy}", hint=nearest(policy, POLICIES))
    frame = manifest.frame
    inputs = {n: inputs_of(encoder.source, encoder.signals) for n, encoder in encoders.items()}
    for name, of_encoder in inputs.items():
        if not frame.select(pl.any_horizontal(*of_encoder.values())).to_series().any():
            raise _never_there(name, of_encoder, frame)
    is_complete = frame.select(
        pl.all_horizontal(*(has for of_encoder in inputs.values() for has in of_encoder.values()))
    ).to_series()
    incomplete = frame.filter(~is_complete)
    if policy == "absent" or incomplete.is_empty():
        return manifest
    if policy == "refuse" or incomplete.height == frame.height:
        counts = count_lacking(frame, encoders).items()
        listed = ", ".join(f"encoder.{name} in {count}" for name, count in counts if count)
        raise ManifestError(
            f"{incomplete.height} of {frame.height} utterances lack a modality or signal "
            f"that an encoder reads, such as {incomplete['utterance_id'][0]!r}: {listed}",
            expected=f"{_listed(inputs)} in every row (data.missing={policy})",
            hint="use data.missing=drop to leave them out, or absent to let the model cope",
        )
    left_out = {f"rows left out by data.missing={policy}": incomplete.height}
    return replace(
        manifest, frame=frame.filter(is_complete), handled={**manifest.handled, **left_out}
    )


def _listed(inputs: Mapping[str, Mapping[str, pl.Expr]]) -> str:
    return ", ".join(dict.fromkeys(name for of_encoder in inputs.values() for name in of_encoder))


def _never_there(
    modality: str, inputs: Mapping[str, pl.Expr], frame: pl.DataFrame
) -> ManifestError:
    names = frame["signals"].explode().struct.field("name").drop_nulls().unique().sort().to_list()
    read = " or ".join(inputs)
    hint = "choose another encoder or corpus"
    if names and not {*inputs} <= {*HAS_SOURCE}:
        hint = f"the corpus has {', '.join(names)}; {nearest(read, names)}"
    return ManifestError(
        f"no utterance of the corpus has {read}, which encoder.{modality} reads", hint=hint
    )
