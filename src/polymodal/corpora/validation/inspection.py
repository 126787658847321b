"""Open every file of a manifest once, and report issues that would spoil a training run."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np
import polars as pl

from polymodal.corpora.overlaps import conflicting_rows
from polymodal.corpora.validation.audio import MEASURES, AudioCheck, audio_rows
from polymodal.corpora.validation.duplicates import duplicate_issues
from polymodal.corpora.validation.issues import LONGER, ORDER, DataIssue, Inspection
from polymodal.corpora.validation.signals import signal_issues, signal_rows
from polymodal.errors import DataError
from polymodal.schemas.manifest import Manifest

ROWS_PER_JOB = 32
LONG_S, LONG_RATIO = 30.0, 10.0  # both are exceeded by a clip that is much longer than others
OVERLAP = "other label for the same audio"
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
    clipping_fraction: float = 1e-3,
    sampling_rate_hz: int | None = None,
    split: pl.Series | None = None,
) -> Inspection:
    """Open every audio and signal file of a manifest and read every text.

    Audio is decoded in `num_workers` threads, one a core by default, on which the result does not
    depend. `progress` is called with the number of utterances done so far and in total. Utterances
    quieter than `silence_db` dBFS (RMS) are silent, those with `clipping_fraction` of clipped
    samples clipped. `sampling_rate_hz` is the expected rate, by default the most frequent one.
    `split` is the name of each row's split: equal audio in two of them is reported as such. Levels
    are those of the mean of the channels, which training reads by default.

    Raises:
        DataError: `num_workers` is below 1.
    """
    begun_s = time.perf_counter()
    workers = (os.cpu_count() or 1) if num_workers is None else num_workers
    if workers < 1:
        raise DataError(f"num_workers is {workers}", expected="1 or more")
    values = np.full((len(manifest), len(MEASURES)), np.nan)
    digests: list[str | None] = [None] * len(manifest)
    audio = AudioCheck(manifest.root, values, silence_db, clipping_fraction, digests)
    signals = partial(signal_issues, manifest.signals_folder)
    frame = manifest.frame.with_row_index("row")
    jobs: list[Job] = [(audio, rows) for rows in _chunks(audio_rows(frame), "audio")]
    jobs += [(signals, rows) for rows in _chunks(signal_rows(frame), "path")]
    issues = [*_absent(frame, "audio"), *_absent(frame, "text"), *_text_issues(frame)]
    issues += (DataIssue(name, OVERLAP, detail) for name, detail in conflicting_rows(frame))
    for job_issues in _run(jobs, workers, len(manifest), progress):
        issues += job_issues
    measures = _measures(frame["utterance_id"], values)
    issues += _uncommon(measures, "sampling_rate_hz", sampling_rate_hz)
    issues += _uncommon(measures, "channels", None)
    issues += [*duplicate_issues(frame, digests, split), *_much_longer(measures)]
    issues.sort(
        key=lambda issue: (ORDER[issue.severity], issue.rule, issue.utterance_id, issue.detail)
    )
    return Inspection(
        issues=tuple(issues),
        num_utterances=len(manifest),
        seconds=float(measures["seconds"].sum()),
        wall_s=time.perf_counter() - begun_s,
        measures=measures,
    )


def _chunks(frame: pl.DataFrame, column: str) -> list[pl.DataFrame]:
    """Split into chunks of rows that never separate the rows of one file."""
    if frame.is_empty():
        return []
    begins = frame[column].ne_missing(frame[column].shift(1)).arg_true().to_numpy()
    _, first = np.unique(begins // ROWS_PER_JOB, return_index=True)
    cuts = [*begins[first].tolist(), frame.height]
    return [frame.slice(start, stop - start) for start, stop in pairwise(cuts)]


def _run(
    jobs: Sequence[Job],
    workers: int,
    num_utterances: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[list[DataIssue]]:
    """Yield the issues of each job; progress counts the files that utterances name."""
    total, done = sum(rows.height for _, rows in jobs), 0
    pool = ThreadPoolExecutor(workers) if workers > 1 else None
    try:
        results = pool.map(_call, jobs) if pool else map(_call, jobs)
        for (_, rows), job_issues in zip(jobs, results, strict=True):
            yield job_issues
            done += rows.height
            if progress is not None:
                progress(num_utterances * done // total, num_utterances)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    if progress is not None and not jobs:
        progress(num_utterances, num_utterances)


def _call(job: Job) -> list[DataIssue]:
    return list(job[0](job[1]))


def _measures(ids: pl.Series, values: np.ndarray) -> pl.DataFrame:
    columns = [
        pl.Series(name, values[:, index]).fill_nan(None).cast(dtype)
        for index, (name, dtype) in enumerate(MEASURES.items())
    ]
    return pl.DataFrame([ids, *columns])


def _uncommon(measures: pl.DataFrame, column: str, target: int | None) -> Iterator[DataIssue]:
    """Yield rows whose rate or number of channels is not the expected or most frequent one."""
    counts = measures[column].drop_nulls().value_counts().sort("count", column, descending=True)
    if counts.is_empty():
        return
    common = target or counts[column][0]
    rate = column == "sampling_rate_hz"
    rule = "other sampling rate" if target else "mixed sampling rates" if rate else "mixed channels"
    why = "is expected" if target else "is the most frequent"
    unit = "Hz" if rate else "channel(s)"
    chosen = measures.filter(pl.col(column) != common).select("utterance_id", column)
    for name, value in chosen.iter_rows():
        yield DataIssue(name, rule, f"{value} {unit}, {common} {unit} {why}")


def _much_longer(measures: pl.DataFrame) -> Iterator[DataIssue]:
    """Yield clips that are much longer than most: often a whole recording among utterances."""
    median_s = measures["seconds"].median()
    if not isinstance(median_s, float):
        return
    limit_s = max(LONG_S, LONG_RATIO * median_s)
    rows = measures.filter(pl.col("seconds") > limit_s).select("utterance_id", "seconds")
    for name, seconds in rows.iter_rows():
        detail = f"{seconds:.1f} s, half of all utterances are shorter than {median_s:.1f} s"
        yield DataIssue(name, LONGER, detail)


def _absent(frame: pl.DataFrame, column: str) -> Iterator[DataIssue]:
    """Yield rows without a text or audio, unless no row has any."""
    is_absent = frame[column].is_null() | (frame[column] == "" if column == "audio" else False)
    if not is_absent.all():
        for name in frame["utterance_id"].filter(is_absent):
            yield DataIssue(name, f"no {column}", f"other utterances have {column}")


def _text_issues(frame: pl.DataFrame) -> Iterator[DataIssue]:
    text = pl.col("text")
    for name in frame.filter(text.str.strip_chars() == "")["utterance_id"]:
        yield DataIssue(name, "empty text", "the text is blank")
    for rule, pattern in TEXT_RULES.items():
        matches = frame.select("utterance_id", match=text.str.extract(f"({pattern})"))
        for name, match in matches.drop_nulls().iter_rows():
            yield DataIssue(name, rule, f"the text holds {match!r}")
