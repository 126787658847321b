"""What a store has of a corpus, and what is missing: every utterance is read once for it."""

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
    """Content that the store lacks.

    Args:
        key: What it is known by.
        amount: Number of samples or characters.
        read: What reads it.
        ids: The utterances that have this content.
    """

    key: bytes
    amount: int
    read: Callable[[], Any]
    ids: list[str] = field(default_factory=list)

    def raw(self) -> Any:
        """Reads the content again.

        Raises:
            DataError: It is another one by now, or cannot be read.
        """
        raw = self.read()
        if raw is None or content_key(raw) != self.key:
            raise DataError(
                f"utterance {self.ids[0]!r} changed while features were extracted",
                hint="run again when nobody writes to the corpus",
            )
        return raw


@dataclass
class StoreLookup:
    """What a store has of a corpus.

    Args:
        extractor: What makes the features.
        collection: What it has made so far.
        num_utterances: Number of utterances, those without content included.
        keys: Utterance id to the key of its content, in order; without those that have none.
        found: Key to where the features are.
        missing: Content that the store lacks, each once.
    """

    extractor: Extractor
    collection: FeatureCollection
    num_utterances: int
    keys: dict[str, bytes] = field(default_factory=dict)
    found: dict[bytes, StoreEntry] = field(default_factory=dict)
    missing: list[MissingFeature] = field(default_factory=list)

    @property
    def num_missing(self) -> int:
        """Number of utterances whose features are missing."""
        return sum(len(one.ids) for one in self.missing)

    @property
    def expected_bytes(self) -> int:
        """About how large what is missing will be.

        Frames by their rate, of tokens one a character, otherwise one vector an utterance.
        """
        extractor, vectors_a_unit = self.extractor, 0.0
        if extractor.source == "audio" and extractor.frame_rate_hz is not None:
            vectors_a_unit = extractor.frame_rate_hz / extractor.sampling_rate_hz
        elif extractor.source == "text" and getattr(extractor, "pooling", "") == "none":
            vectors_a_unit = 1.0
        num_vectors = sum(max(1.0, vectors_a_unit * one.amount) for one in self.missing)
        return round(num_vectors * self.collection.bytes_a_row)

    def features(self) -> FeatureReader:
        """Returns what reads the features, once nothing is missing any more."""
        return self.collection.features({one: self.found[key] for one, key in self.keys.items()})


def look_up(
    utterances: Iterable[Reading],
    extractor: Extractor,
    store: FeatureStore,
    *,
    num_threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> StoreLookup:
    """Reads every utterance, and looks up which features the store has.

    Args:
        utterances: Id, and what reads the waveform, text or signals; it returns None where the
            utterance has none.
        extractor: What makes the features.
        store: Where they are kept.
        num_threads: Number of threads that decode audio; 0 reads here.
        progress: Told the number of utterances that were read, and of all.

    Returns:
        What is there and what is missing.

    Raises:
        DataError: An utterance cannot be read, or the store is damaged.
    """
    rows = list(utterances)
    seen = StoreLookup(extractor, store.open(extractor), len(rows))
    missing: dict[bytes, MissingFeature] = {}
    is_slow = extractor.source == "audio" and num_threads > 0
    contents = _in_threads(rows, num_threads) if is_slow else (_content(read) for _, read in rows)
    for num_read, ((utterance_id, read), content) in enumerate(
        zip(rows, contents, strict=True), start=1
    ):
        if content is not None:
            key, amount = content
            seen.keys[utterance_id] = key
            if not _is_found(seen, key):
                missing.setdefault(key, MissingFeature(key, amount, read)).ids.append(utterance_id)
        if progress is not None:
            progress(num_read, len(rows))
    seen.missing = list(missing.values())
    return seen


def _is_found(seen: StoreLookup, key: bytes) -> bool:
    if key not in seen.found and (entry := seen.collection.find(key)) is not None:
        seen.found[key] = entry
    return key in seen.found


def _in_threads(rows: Sequence[Reading], num_threads: int) -> Iterator[tuple[bytes, int] | None]:
    pool = ThreadPoolExecutor(num_threads)
    try:
        yield from pool.map(_content, [read for _, read in rows])
    finally:
        pool.shutdown(cancel_futures=True)


def _content(read: Callable[[], Any]) -> tuple[bytes, int] | None:
    raw = read()
    return None if raw is None else (content_key(raw), amount_of(raw))
