"""Precomputed features, one array an utterance, with a table of labels.

Sequences in `.npy` files are used in place; all other features are written once.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polymodal.corpora._base import ReaderOptions, build_manifest, require_dir
from polymodal.corpora.cells import Row
from polymodal.corpora.precomputed.files import ID, feature_source
from polymodal.corpora.precomputed.packing import PackedFeatures, index_files, pack
from polymodal.corpora.table import read_table
from polymodal.errors import ManifestError, nearest
from polymodal.schemas.keys import clean_key
from polymodal.schemas.manifest import Manifest, RejectedRow

MODALITY = re.compile(r"\w[\w.-]*")


def read_features(
    root: str,
    *,
    modalities: Mapping[str, str],
    prepared: str,
    file: str = "manifest.csv",
    rates_hz: Mapping[str, float | None] | None = None,
    columns: Mapping[str, str | None] | None = None,
    audio_prefix: str | None = None,
    open_end: bool = False,
    speaker: str | None = None,
    unknown_speaker: str | None = None,
    encoding: str = "utf-8",
    corpus: str | None = None,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    max_refused: int | None = 0,
    max_gb: float = 8.0,
) -> Manifest:
    """Read a table of labels, and features of any modality.

    A modality is a folder with `<utterance_id>.npy`, an `.npz` with an array an utterance, or a
    `.parquet` with `utterance_id` and either one column of lists or a column a feature. An array is
    `[time, feature]`; a vector `[feature]` is one step. An utterance may lack a modality. An
    encoder such as `PrecomputedEncoder` reads a modality as the signal of its name.

    `modalities` maps a name to its folder or file below `root`, `rates_hz` to its steps a second,
    if known. Features that are not sequences in `.npy` files are written to `prepared`; an `.npz`
    may take `max_gb` 10^9 bytes in memory. The other options are those of `read_table`.

    Raises:
        ManifestError: The table or a modality cannot be read, no utterance has a modality, an
            `.npz` is too large, or more rows were rejected than allowed.
        DataError: A path leads out of the folder.
    """
    folder, target = require_dir(root, "the features"), Path(prepared).expanduser()
    _check_names(modalities, rates_hz or {})
    table = read_table(
        root,
        file=file,
        corpus=corpus,
        columns=columns,
        audio_prefix=audio_prefix,
        open_end=open_end,
        speaker=speaker,
        unknown_speaker=unknown_speaker,
        encoding=encoding,
        classes=classes,
        label_map=label_map,
        where=where,
        max_refused=max_refused,
    )
    if table.frame["signals"].list.len().sum():
        raise ManifestError(
            "the table has signals of its own (columns signal_<name>)",
            expected="features by corpus.modalities only",
            hint="leave those columns out, or read all of them with corpus=table",
        )
    sources = [feature_source(*item, folder, max_gb) for item in sorted(modalities.items())]
    in_place = all(source.is_in_place for source in sources)
    ids = set(table.frame[ID])
    features = {
        source.name: _by_clean_id(
            index_files(source, folder, ids) if in_place else pack(source, target)
        )
        for source in sources
    }
    return _joined(table, features, rates_hz or {}, max_refused, None if in_place else target)


def _by_clean_id(features: PackedFeatures) -> PackedFeatures:
    """Name arrays as the ids of the table are named after cleaning."""
    spans = {clean_key(name): span for name, span in features.spans.items()}
    return PackedFeatures(spans, {clean_key(name): why for name, why in features.faults.items()})


def _check_names(modalities: Mapping[str, str], rates_hz: Mapping[str, float | None]) -> None:
    if not modalities or not all(MODALITY.fullmatch(name) for name in modalities):
        raise ManifestError(
            f"corpus.modalities={dict(modalities)}",
            expected="names of letters, digits, dots and dashes, each with its folder or file",
            hint="for example corpus.modalities.face=face.npz",
        )
    for name, rate_hz in rates_hz.items():
        if name not in modalities:
            raise ManifestError(f"corpus.rates_hz.{name}", hint=nearest(name, modalities))
        if rate_hz is not None and not 0 < rate_hz < math.inf:
            raise ManifestError(f"corpus.rates_hz.{name}={rate_hz}", expected="above 0, or null")


def _joined(
    table: Manifest,
    features: Mapping[str, PackedFeatures],
    rates_hz: Mapping[str, float | None],
    max_refused: int | None,
    signals_root: Path | None,
) -> Manifest:
    """Add the features to the table as signals, and reject rows with unusable features."""
    rows: list[tuple[int | str, Row]] = []
    rejected = list(table.refused)
    handled = Counter(table.handled) + _count_unlisted(features, set(table.frame[ID]))
    for name, speaker in table.frame.select(ID, "speaker").iter_rows():
        faulty = next((key for key, arrays in features.items() if name in arrays.faults), None)
        if faulty is not None:
            rule, reason = features[faulty].faults[name]
            rejected.append(RejectedRow(name, rule, f"{faulty}: {reason}"))
            continue
        signals = []
        for key, arrays in features.items():
            if name in arrays.spans:
                path, start, length = arrays.spans[name]
                reference = {"name": key, "path": path, "rate_hz": rates_hz.get(key)}
                signals.append({**reference, "start": start, "length": length})
            else:
                handled[f"no {key}"] += 1
        rows.append((name, {ID: name, "speaker": speaker, "signals": signals}))
    options = ReaderOptions(max_refused=max_refused)
    manifest = build_manifest(
        rows, table.root, options, rejected, handled=handled, signals_root=signals_root
    )
    signals_of = manifest.frame.select(ID, "signals")
    frame = table.frame.drop("signals").join(signals_of, on=ID, how="inner").sort(ID)
    return replace(manifest, frame=frame)


def _count_unlisted(features: Mapping[str, PackedFeatures], ids: Collection[str]) -> Counter[str]:
    """Count the arrays of each modality that belong to no utterance of the table."""
    counts: Counter[str] = Counter()
    for name, arrays in features.items():
        array_ids = {*arrays.spans, *arrays.faults}
        if array_ids.isdisjoint(ids):
            shown, listed = sorted(array_ids)[:3], sorted(ids)[:3]
            raise ManifestError(
                f"no utterance of the table has {name}: it has {shown}, the table {listed}",
                expected="the ids of the table as names of the arrays",
                hint="rename the arrays, or map another column with "
                "corpus.columns.utterance_id=COLUMN",
            )
        counts[f"{name} of an utterance that is not in the table"] = len(array_ids.difference(ids))
    return counts
