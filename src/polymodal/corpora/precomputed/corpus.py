"""Features that were computed elsewhere, one array an utterance, beside a table of the labels.

Sequences that lie as `.npy` are used where they lie; everything else is written once.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polymodal.corpora._base import Rules, build_manifest, require_dir
from polymodal.corpora.precomputed.files import ID, feature_source
from polymodal.corpora.precomputed.packing import PackedFeatures, packed, placed
from polymodal.corpora.table import read_table
from polymodal.errors import ManifestError, nearest
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
    speaker: str | None = None,
    encoding: str = "utf-8",
    corpus: str | None = None,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    max_refused: int | None = 0,
    max_gb: float = 8.0,
) -> Manifest:
    """Reads a table of labels, and features of any modality that lie beside it.

    A modality is a folder with `<utterance_id>.npy`, an `.npz` with one array an utterance, or a
    `.parquet` with `utterance_id` and either one column of lists or one column a feature. An array
    is `[time, feature]`; a vector `[feature]` counts as one step. An utterance may lack a modality.
    An encoder such as `PrecomputedEncoder` reads a modality as the signal of its name.

    Args:
        root: Folder of the table and the features.
        modalities: Name of a modality to its folder or file below `root`.
        prepared: Folder that features are written to which do not lie as sequences in `.npy` files.
        file: The table, see `read_table`.
        rates_hz: Name of a modality to its steps a second; None, or left out, where unknown.
        columns: Our column to the table's; None where they are the same.
        speaker: One speaker for all rows, for tables that name none.
        encoding: Of the table.
        corpus: Name of the corpus; the table's own column, or the folder's name, by default.
        classes: The declared classes; None to accept any label.
        label_map: The table's word to ours.
        where: Column to the value, or values, to keep.
        max_refused: How many rows may be refused; None for any number.
        max_gb: How large an `.npz` may become in memory, in 10^9 bytes.

    Returns:
        The manifest; the features are its signals.

    Raises:
        ManifestError: The table or a modality cannot be read, no utterance has a modality, an
            `.npz` is too large, or more rows were refused than allowed.
        DataError: A path leads out of the folder.
    """
    folder, target = require_dir(root, "the features"), Path(prepared).expanduser()
    _check_names(modalities, rates_hz or {})
    table = read_table(
        root,
        file=file,
        corpus=corpus,
        columns=columns,
        speaker=speaker,
        encoding=encoding,
        classes=classes,
        label_map=label_map,
        where=where,
        max_refused=max_refused,
    )
    _check_without_signals(table)
    sources = [feature_source(*one, folder, max_gb) for one in sorted(modalities.items())]
    in_place = all(source.lies_ready for source in sources)
    ids = set(table.frame[ID])
    features = {
        source.name: placed(source, folder, ids) if in_place else packed(source, target)
        for source in sources
    }
    return _joined(table, features, rates_hz or {}, max_refused, None if in_place else target)


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


def _check_without_signals(table: Manifest) -> None:
    if table.frame["signals"].list.len().sum():
        raise ManifestError(
            "the table has signals of its own (columns signal_<name>)",
            expected="features by corpus.modalities only",
            hint="leave those columns out, or read all of them with corpus=table",
        )


def _joined(
    table: Manifest,
    features: Mapping[str, PackedFeatures],
    rates_hz: Mapping[str, float | None],
    max_refused: int | None,
    signals_root: Path | None,
) -> Manifest:
    """The table with the features as signals, without the rows whose features cannot be used."""
    rows: list[tuple[int | str, dict[str, Any]]] = []
    refused = list(table.refused)
    handled = Counter(table.handled) + _strangers(features, set(table.frame[ID]))
    for name, speaker in table.frame.select(ID, "speaker").iter_rows():
        faults = [(key, *one.faults[name]) for key, one in features.items() if name in one.faults]
        if faults:
            modality, rule, reason = faults[0]
            refused.append(RejectedRow(name, rule, f"{modality}: {reason}"))
            continue
        spans = {key: one.spans[name] for key, one in features.items() if name in one.spans}
        signals = [_reference(key, span, rates_hz.get(key)) for key, span in spans.items()]
        handled.update(f"no {key}" for key in features if key not in spans)
        rows.append((name, {ID: name, "speaker": speaker, "signals": signals}))
    rules = Rules(max_refused=max_refused)
    kept = build_manifest(
        rows, table.root, rules, refused, handled=handled, signals_root=signals_root
    )
    signals_of = kept.frame.select(ID, "signals")
    frame = table.frame.drop("signals").join(signals_of, on=ID, how="inner").sort(ID)
    return replace(kept, frame=frame)


def _strangers(features: Mapping[str, PackedFeatures], ids: Collection[str]) -> Counter[str]:
    """How many arrays of each modality belong to no utterance of the table."""
    counts: Counter[str] = Counter()
    for name, one in features.items():
        known = {*one.spans, *one.faults}
        if known.isdisjoint(ids):
            raise ManifestError(
                f"no utterance of the table has {name}: it has {sorted(known)[:3]}, the table "
                f"{sorted(ids)[:3]}",
                expected="the ids of the table as names of the arrays",
                hint="rename the arrays, or map another column with "
                "corpus.columns.utterance_id=COLUMN",
            )
        counts[f"{name} of an utterance that is not in the table"] = len(known.difference(ids))
    return counts


def _reference(name: str, span: tuple[str, int, int], rate_hz: float | None) -> dict[str, Any]:
    path, start, length = span
    return {"name": name, "path": path, "rate_hz": rate_hz, "start": start, "length": length}
