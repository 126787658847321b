"""A corpus that was read before, as Parquet with a report.

`NAME.parquet` holds the rows, `NAME.json` their origin and the rejected or fixed rows, and
`NAME.prepared/` what the reader had to write (cut signals, extracted audio).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.corpora._base import NUM_THREADS, allowed_values, warn_of_variants
from polymodal.corpora.labels import LabelMap, with_mapped_votes
from polymodal.errors import ManifestError, MissingCorpusError, nearest
from polymodal.schemas.keys import CONTENTS, clean_key
from polymodal.schemas.manifest import Manifest, RejectedRow
from polymodal.security.files import sha256_of


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest and the report of how it was read.

    Raises:
        ManifestError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest.write(path)
    except OSError as error:
        raise ManifestError(f"{path} cannot be written: {error}") from None
    report = {
        "root": str(manifest.root.resolve()),
        "prepared": manifest.signals_root == prepared_dir(path),
        "rows": len(manifest),
        "fingerprint": manifest.fingerprint(),
        "handled": dict(manifest.handled),
    }
    _write_report(path.with_suffix(".json"), report, manifest.refused)


def write_rejected(refused: Sequence[RejectedRow], path: Path) -> None:
    """Write the report of a corpus that became no manifest, as too many rows were rejected.

    Raises:
        ManifestError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_report(path, {"rows": 0}, refused)
    except OSError as error:
        raise ManifestError(f"{path} cannot be written: {error}") from None


def _write_report(path: Path, facts: Mapping[str, Any], refused: Sequence[RejectedRow]) -> None:
    by_rule = dict(Counter(rejection.rule for rejection in refused))
    rejections = [vars(rejection) for rejection in refused]
    report = {**facts, "refused_by_rule": by_rule, "refused": rejections}
    text = json.dumps(report, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def prepared_dir(path: Path) -> Path:
    """Return the folder next to a manifest for files that its reader writes."""
    return path.with_suffix(".prepared")


def read_manifest(
    file: str,
    *,
    root: str | None = None,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
) -> Manifest:
    """Read a manifest that `polymodal corpus` wrote, without opening the corpus itself.

    By default `root` is the folder that it was read from. `where` selects rows by the labels of the
    manifest, before `label_map` maps those of the rows that are left. The other options are those
    of `ReaderOptions`.

    Raises:
        ManifestError: The file or the folder cannot be read, a column does not exist, a label is
            not a declared class, or no row is left.
    """
    path = Path(file).expanduser()
    report = _report(path)
    given = root or report.get("root")
    folder = path.parent if given is None else Path(given).expanduser()
    if not folder.is_dir():
        raise MissingCorpusError(
            f"there is no folder {folder}, which {path.name} was read from",
            hint="give its current folder with corpus.root=FOLDER",
        )
    manifest = Manifest.read(path, folder)
    prepared = prepared_dir(path)
    cleaned, handled = _cleaned(manifest.frame)
    frame = _filtered(cleaned, where or {})
    labels = LabelMap(label_map, classes)
    mapped = {label: labels(label) for label in frame["label"].drop_nulls().unique()}
    frame = frame.with_columns(pl.col("label").replace(mapped))
    frame = with_mapped_votes(frame, labels)
    warn_of_variants(frame)
    _check_labels(frame, classes)
    signals_root = prepared if report.get("prepared", prepared.is_dir()) else None
    return Manifest(frame, manifest.root, handled=handled, signals_root=signals_root)


def _cleaned(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Clean the names of a manifest that another program or an earlier version has written."""
    handled = {}
    for column, dtype in frame.schema.items():
        if dtype != pl.String or column in CONTENTS:
            continue
        names = frame[column].drop_nulls().unique()
        changed = {name: clean for name in names if (clean := clean_key(name)) != name}
        if changed:
            count = int(frame[column].is_in([*changed]).sum())
            handled[f"{column}: blanks, invisible characters or Unicode form cleaned"] = count
            frame = frame.with_columns(pl.col(column).replace(changed))
    return frame, handled


def _report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _filtered(frame: pl.DataFrame, where: Mapping[str, Any]) -> pl.DataFrame:
    for column, values in where.items():
        if column not in frame.columns:
            message = f"corpus.where names the column {column!r}"
            raise ManifestError(message, hint=nearest(column, frame.columns))
        if frame.schema[column].is_nested():
            raise ManifestError(f"corpus.where names the column {column!r}, which holds lists")
        frame = frame.filter(pl.col(column).cast(pl.String).is_in(allowed_values(values)))
        if frame.is_empty():
            raise ManifestError(
                f"no utterance is left with corpus.where={dict(where)}",
                hint="check the values of corpus.where; labels are compared as they are before "
                "corpus.label_map",
            )
    return frame


def _check_labels(frame: pl.DataFrame, classes: Sequence[str] | None) -> None:
    if classes is None:
        return
    unknown = frame.filter(pl.col("label").is_not_null() & ~pl.col("label").is_in(list(classes)))
    if unknown.height:
        label, name = unknown.select("label", "utterance_id").row(0)
        raise ManifestError(
            f"{unknown.height} rows have an undeclared label, such as {label!r} of {name!r}",
            expected=f"one of {list(classes)}",
            hint="declare it in corpus.classes, map it with corpus.label_map, or leave it out "
            "with corpus.where",
        )


def with_hashes(manifest: Manifest) -> Manifest:
    """Add the SHA-256 of every audio file, by which `corpus check` detects replaced files."""
    audios = manifest.frame["audio"].drop_nulls().unique().sort().to_list()
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        digests = threads.map(sha256_of, [manifest.root / audio for audio in audios])
        hashes = dict(zip(audios, digests, strict=True))
    column = pl.col("audio").replace_strict(hashes, default=None, return_dtype=pl.String)
    return manifest.take(manifest.frame.with_columns(column.alias("audio_sha256")))
