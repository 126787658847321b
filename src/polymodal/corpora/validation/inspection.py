"""Opens every file behind a manifest once, and says what would spoil a training run."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np
import polars as pl

from polymodal.corpora.validation.audio import MEASURES, AudioCheck, audio_rows
from polymodal.corpora.validation.issues import DataIssue, Inspection
from polymodal.corpora.validation.signals import signal_findings, signal_rows
from polymodal.errors import DataError
from polymodal.schemas.manifest import Manifest

ROWS_AT_ONCE = 32
CONTINUED = "\u0080-\u00bf\u2018-\u203a\u20ac\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192"
TEXT_RULES = {
    "broken characters": (
        "\ufffd"
        f"|[\u00c2\u00c3][{CONTINUED}]|\u00e2\u20ac|\u00ef\u00bb\u00bf"  # UTF-8 read as Latin-1
        f"|(?:[\u00ea-\u00ed][{CONTINUED}\u02c6\u02dc\u2013\u2014\u2122]{{2}}){{2}}"
        "|(?:[\u00b0-\u00c8][\u00a1-\u00fe]){3}"  # EUC-KR read as Latin-1
    ),
    "control characters": "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]",
}

Job = tuple[Callable[[pl.DataFrame], Iterable[DataIssue]], pl.DataFrame]


def inspect_manifest(
    manifest: Manifest,
    *,
    num_workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    silence_db: float = -60.0,
    clipping_share: float = 1e-3,
    sampling_rate_hz: int | None = None,
) -> Inspection:
    """Opens every audio and signal file of a manifest and reads every text.

    Args:
        manifest: The corpus.
        num_workers: Threads that decode; one a core where it is not given.
        progress: Called with the utterances done so far and their total.
        silence_db: Utterances quieter than this are called silent, in dBFS (RMS).
        clipping_share: Share of clipped samples from which an utterance is called clipped.
        sampling_rate_hz: The rate that is wanted; the most frequent one where it is not given.

    Returns:
        What was found; the number of workers does not move it.

    Raises:
        DataError: `num_workers` is below 1.
    """
    begun_s = time.perf_counter()
    workers = (os.cpu_count() or 1) if num_workers is None else num_workers
    if workers < 1:
        raise DataError(f"num_workers is {workers}", expected="1 or more")
    values = np.full((len(manifest), len(MEASURES)), np.nan)
    audio = AudioCheck(manifest.root, values, silence_db, clipping_share)
    signals = partial(signal_findings, manifest.signals_folder)
    frame = manifest.frame.with_row_index("row")
    jobs: list[Job] = [(audio, part) for part in _parts(audio_rows(frame), "audio")]
    jobs += [(signals, part) for part in _parts(signal_rows(frame), "path")]
    findings = [*_absent(frame, "audio"), *_absent(frame, "text"), *_text_findings(frame)]
    for found in _run(jobs, workers, len(manifest), progress):
        findings += found
    measures = _measures(frame["utterance_id"], values)
    findings += _uncommon(measures, "sampling_rate_hz", sampling_rate_hz)
    findings += _uncommon(measures, "channels", None)
    findings.sort(key=lambda one: (one.severity, one.rule, one.utterance_id, one.detail))
    return Inspection(
        findings=tuple(findings),
        num_utterances=len(manifest),
        seconds=float(measures["seconds"].sum()),
        wall_s=time.perf_counter() - begun_s,
        measures=measures,
    )


def _parts(frame: pl.DataFrame, column: str) -> list[pl.DataFrame]:
    """Parts of some rows each that never part the rows of one file."""
    if frame.is_empty():
        return []
    begins = frame[column].ne_missing(frame[column].shift(1)).arg_true().to_numpy()
    _, first = np.unique(begins // ROWS_AT_ONCE, return_index=True)
    cuts = [*begins[first].tolist(), frame.height]
    return [frame.slice(start, stop - start) for start, stop in pairwise(cuts)]


def _run(
    jobs: Sequence[Job],
    workers: int,
    num_utterances: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[list[DataIssue]]:
    """Findings of each job; progress is shared out over the files that utterances name."""
    total, done = sum(part.height for _, part in jobs), 0
    pool = ThreadPoolExecutor(workers) if workers > 1 else None
    try:
        results = pool.map(_call, jobs) if pool else map(_call, jobs)
        for (_, part), found in zip(jobs, results, strict=True):
            yield found
            done += part.height
            if progress is not None:
                progress(num_utterances * done // total, num_utterances)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    if progress is not None and not jobs:
        progress(num_utterances, num_utterances)


def _call(job: Job) -> list[DataIssue]:
    check, part = job
    return list(check(part))


def _measures(ids: pl.Series, values: np.ndarray) -> pl.DataFrame:
    columns = [
        pl.Series(name, values[:, place]).fill_nan(None).cast(dtype)
        for place, (name, dtype) in enumerate(MEASURES.items())
    ]
    return pl.DataFrame([ids, *columns])


def _uncommon(measures: pl.DataFrame, column: str, wanted: int | None) -> Iterator[DataIssue]:
    """Rows whose rate, or number of channels, is not the usual or wanted one."""
    counts = measures[column].drop_nulls().value_counts().sort("count", column, descending=True)
    if counts.is_empty():
        return
    usual = wanted or counts[column][0]
    rate = column == "sampling_rate_hz"
    rule = "other sampling rate" if wanted else "mixed sampling rates" if rate else "mixed channels"
    why = "is wanted" if wanted else "is the most frequent"
    unit = "Hz" if rate else "channel(s)"
    chosen = measures.filter(pl.col(column) != usual).select("utterance_id", column)
    for name, value in chosen.iter_rows():
        yield DataIssue(name, rule, f"{value} {unit}, {usual} {unit} {why}")


def _absent(frame: pl.DataFrame, column: str) -> Iterator[DataIssue]:
    """Rows without a text or audio that others have; a corpus without any has no fault."""
    lacking = frame[column].is_null() | (frame[column] == "" if column == "audio" else False)
    if not lacking.all():
        for name in frame["utterance_id"].filter(lacking):
            yield DataIssue(name, f"no {column}", f"other utterances have {column}")


def _text_findings(frame: pl.DataFrame) -> Iterator[DataIssue]:
    text = pl.col("text")
    for name in frame.filter(text.str.strip_chars() == "")["utterance_id"]:
        yield DataIssue(name, "empty text", "the text is blank")
    for rule, pattern in TEXT_RULES.items():
        matches = frame.select("utterance_id", match=text.str.extract(f"({pattern})"))
        for name, match in matches.drop_nulls().iter_rows():
            yield DataIssue(name, rule, f"the text holds {match!r}")
