"""Look up the features of a corpus in a store, reading every utterance once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from polymodal.encoders.extractor import Extractor
from polymodal.errors import DataError
from polymodal.features.keys import amount_of, content_key
from polymodal.features.reader import FeatureReader
from polymodal.features.shards import StoreEntry
from polymodal.features.store import FeatureCollection, FeatureStore

Reading = tuple[str, Callable[[], Any]]


@dataclass
class MissingFeature:
    """Content whose features are missing in the store."""

    key: bytes
    amount: int  # number of samples or characters
    read: Callable[[], Any]
    ids: list[str] = field(default_factory=list)  # the utterances that have this content

    def raw(self) -> Any:
        """Read the content again.

        Raises:
            DataError: It has changed, or cannot be read.
        """
        raw = self.read()
        if raw is None or content_key(raw) != self.key:
            raise DataError(
                f"utterance {self.ids[0]!r} changed while features were extracted",
                hint="run again while the corpus is not being changed",
            )
        return raw


@dataclass
class StoreLookup:
    """The stored and the missing features of a corpus."""

    extractor: Extractor
    collection: FeatureCollection  # its stored features
    num_utterances: int  # those without content included
    # Utterance id to the key of its content, in order; without those that have none.
    keys: dict[str, bytes] = field(default_factory=dict)
    entries: dict[bytes, StoreEntry] = field(default_factory=dict)  # key to position
    missing: list[MissingFeature] = field(default_factory=list)  # each content once

    @property
    def num_missing(self) -> int:
        """Number of utterances whose features are missing."""
        return sum(len(feature.ids) for feature in self.missing)

    @property
    def expected_bytes(self) -> int:
        """Approximate size of the missing features.

        Estimated by the frame rate, as one token a character, otherwise as one vector an utterance.
        """
        extractor, vectors_a_unit = self.extractor, 0.0
        if extractor.source == "audio" and extractor.frame_rate_hz is not None:
            vectors_a_unit = extractor.frame_rate_hz / extractor.sampling_rate_hz
        elif extractor.source == "text" and getattr(extractor, "pooling", "") == "none":
            vectors_a_unit = 1.0
        num_vectors = sum(max(1.0, vectors_a_unit * feature.amount) for feature in self.missing)
        return round(num_vectors * self.collection.bytes_a_row)

    def features(self) -> FeatureReader:
        """Return the reader of the features, once nothing is missing."""
        return self.collection.features(
            {utterance_id: self.entries[key] for utterance_id, key in self.keys.items()}
        )


def look_up(
    utterances: Iterable[Reading],
    extractor: Extractor,
    store: FeatureStore,
    *,
    num_threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> StoreLookup:
    """Read every utterance once, and look up its features.

    `utterances` are ids, and functions that read the waveform, text or signals; they return None
    for an utterance without content. `num_threads` decode audio; 0 reads here. `progress` is called
    with the number of utterances that were read, and of all.

    Raises:
        DataError: An utterance cannot be read, or the store is damaged.
    """
    rows = list(utterances)
    lookup = StoreLookup(extractor, store.open(extractor), len(rows))
    missing: dict[bytes, MissingFeature] = {}
    is_slow = extractor.source == "audio" and num_threads > 0
    contents = _in_threads(rows, num_threads) if is_slow else (_content(read) for _, read in rows)
    for num_read, ((utterance_id, read), content) in enumerate(
        zip(rows, contents, strict=True), start=1
    ):
        if content is not None:
            key, amount = content
            lookup.keys[utterance_id] = key
            if key not in lookup.entries and (entry := lookup.collection.find(key)) is not None:
                lookup.entries[key] = entry
            if key not in lookup.entries:
                missing.setdefault(key, MissingFeature(key, amount, read)).ids.append(utterance_id)
        if progress is not None:
            progress(num_read, len(rows))
    lookup.missing = list(missing.values())
    return lookup


def _in_threads(rows: Sequence[Reading], num_threads: int) -> Iterator[tuple[bytes, int] | None]:
    pool = ThreadPoolExecutor(num_threads)
    try:
        yield from pool.map(_content, [read for _, read in rows])
    finally:
        pool.shutdown(cancel_futures=True)


def _content(read: Callable[[], Any]) -> tuple[bytes, int] | None:
    raw = read()
    return None if raw is None else (content_key(raw), amount_of(raw))
