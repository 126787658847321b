"""Describe heart beats over an utterance, from intervals or from an ECG.

Heart-rate variability as in Task Force of the European Society of Cardiology, Circulation 93,
1996. R peaks are those of neurokit2: Makowski et al., Behavior Research Methods 53, 2021.

Legend: beat = heart beats, event = beats of the device, sample = values of the ECG.
"""

import warnings
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from polymodal.errors import DataError

Values = npt.NDArray[np.float64]
Features = dict[str, float]
# 200 to 30 beats a minute; a shorter or longer interval is a false or a missed beat.
PLAUSIBLE_S = (0.3, 2.0)
# No pause of a heart and no utterance is longer; milliseconds and times since 1970 are.
MAX_PAUSE_S, MAX_S = 30.0, 86_400.0
# Beats are successive if the interval of the later one begins at the earlier one.
TOLERANCE_S = 0.05
MIN_BEATS = 3
MIN_SLOPE_S = 20.0
# The sources demand about one and two minutes; the first and last beat are a little within.
BANDS_HZ: Mapping[str, tuple[float, float]] = {"hf": (0.15, 0.4), "lf": (0.04, 0.15)}
MIN_BAND_S: Mapping[str, float] = {"hf": 55.0, "lf": 115.0}
MIN_BAND_FRACTION = 0.9
MIN_ECG_HZ = 50.0

BEAT_NAMES = (
    *("beats_share", "mean_bpm", "median_bpm", "range_bpm", "slope_bpm_per_min"),
    *("sdnn_ms", "log_sdnn", "rmssd_ms", "log_rmssd", "log_sdnn_to_rmssd", "pnn50"),
    *("log_hf_power", "log_lf_power"),
)


def beat_features(events: Values, duration_s: float) -> Features:
    """Describe heart beats by the intervals between them.

    `events` are in seconds: intervals one after the other, `[event]`, or the beat's offset and the
    interval that it ends, `[event, 2]`. `duration_s` is the length of the utterance. Returns name,
    of `BEAT_NAMES`, to value; features that cannot be computed are left out.

    Raises:
        DataError: The times are not seconds from the start of the utterance.

    Example:
        >>> features = beat_features(np.array([0.8, 0.9, 0.7, 0.8]), 3.2)
        >>> round(features["mean_bpm"], 6), round(features["rmssd_ms"], 1)
        (75.0, 141.4)
    """
    ends_s, intervals_s = _plausible(events)
    covered = min(1.0, float(intervals_s.sum()) / duration_s) if duration_s > 0 else 0.0
    features = {"beats_share": covered}
    if len(intervals_s) < MIN_BEATS:
        return features
    bpm = 60.0 / intervals_s
    deviation_ms = 1000.0 * float(intervals_s.std(ddof=1))
    features |= {
        "mean_bpm": 60.0 / float(intervals_s.mean()),
        "median_bpm": float(np.median(bpm)),
        "range_bpm": float(np.ptp(bpm)),
        "sdnn_ms": deviation_ms,
        "log_sdnn": _log(deviation_ms),
    }
    if np.ptp(ends_s) >= MIN_SLOPE_S:
        features["slope_bpm_per_min"] = float(np.polyfit(ends_s - ends_s[0], bpm, 1)[0]) * 60.0
    features |= _successive(ends_s, intervals_s, deviation_ms)
    return features | _powers(ends_s, intervals_s)


def ecg_features(values: Values, rate_hz: float, duration_s: float) -> Features:
    """Describe the heart beats of an electrocardiogram, in any unit: see `beat_features`.

    `values` are `[sample]`, NaN where nothing was measured.

    Raises:
        DataError: The rate is too low to find beats.
    """
    if rate_hz < MIN_ECG_HZ:
        raise DataError(
            f"an ECG of {rate_hz:g} samples a second", expected=f"at least {MIN_ECG_HZ:g}"
        )
    peaks_s = _r_peaks(values, rate_hz) / rate_hz
    events = np.stack([peaks_s[1:], np.diff(peaks_s)], axis=1)
    return beat_features(events, duration_s)


def _plausible(events: Values) -> tuple[Values, Values]:
    """Return the offset and the interval of each plausible beat, in order of time."""
    if events.ndim == 1:
        steps = np.where(np.isfinite(events), events, 0.0)
        events = np.stack([np.cumsum(steps), events], axis=1)
    events = events[np.isfinite(events).all(axis=1)]
    if len(events) and (np.median(events[:, 1]) > MAX_PAUSE_S or events[:, 0].max() > MAX_S):
        raise DataError(
            f"heart beats until {events[:, 0].max():g} s, {np.median(events[:, 1]):g} s apart",
            expected="seconds from the start of the utterance",
            hint="subtract the utterance's start, and divide milliseconds by 1000",
        )
    shortest_s, longest_s = PLAUSIBLE_S
    events = events[(events[:, 1] >= shortest_s) & (events[:, 1] <= longest_s)]
    events = events[np.argsort(events[:, 0], kind="stable")]
    return events[:, 0], events[:, 1]


def _successive(ends_s: Values, intervals_s: Values, deviation_ms: float) -> Features:
    """Describe successive beats; gaps between them are left out."""
    follows = np.abs(np.diff(ends_s) - intervals_s[1:]) <= TOLERANCE_S
    changes_ms = 1000.0 * np.diff(intervals_s)[follows]
    if len(changes_ms) < MIN_BEATS:
        return {}
    rmssd_ms = float(np.sqrt(np.square(changes_ms).mean()))
    return {
        "rmssd_ms": rmssd_ms,
        "log_rmssd": _log(rmssd_ms),
        "log_sdnn_to_rmssd": _log(deviation_ms) - _log(rmssd_ms),
        "pnn50": float((np.abs(changes_ms) > 50.0).mean()),
    }


def _powers(ends_s: Values, intervals_s: Values) -> Features:
    """Return the power in ms² of each band that the utterance is long enough for."""
    span_s = float(ends_s[-1] - ends_s[0])
    has_few_gaps = float(intervals_s[1:].sum()) >= MIN_BAND_FRACTION * span_s
    bands = [name for name, min_s in MIN_BAND_S.items() if has_few_gaps and span_s >= min_s]
    if not bands:
        return {}
    rate_hz = 4.0
    ticks_s = np.arange(0.0, span_s, 1.0 / rate_hz)
    course = 1000.0 * np.interp(ticks_s, ends_s - ends_s[0], intervals_s)
    course -= np.polyval(np.polyfit(ticks_s, course, 1), ticks_s)
    window = np.hanning(len(course))
    density = 2.0 * np.square(np.abs(np.fft.rfft(course * window)))
    density /= rate_hz * float(np.square(window).sum())
    frequencies_hz = np.fft.rfftfreq(len(course), 1.0 / rate_hz)
    width_hz, powers = rate_hz / len(course), {}
    for name in bands:
        low, high = BANDS_HZ[name]
        inside = (frequencies_hz >= low) & (frequencies_hz < high)
        powers[f"log_{name}_power"] = _log(density[inside].sum() * width_hz)
    return powers


def _r_peaks(values: Values, rate_hz: float) -> Values:
    """Return the samples of the R peaks; none in less than a second and in a flat signal."""
    finite = np.isfinite(values)
    if finite.sum() < rate_hz or np.ptp(values[finite]) == 0:
        return np.zeros(0)
    samples = np.arange(len(values))
    filled = np.interp(samples, samples[finite], values[finite])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import neurokit2  # here, as it is optional and slow to import

        cleaned = neurokit2.ecg_clean(filled, sampling_rate=rate_hz)
        peaks = neurokit2.ecg_peaks(cleaned, sampling_rate=rate_hz)[1]["ECG_R_Peaks"]
    return np.asarray(peaks, dtype=np.float64)


def _log(value: float) -> float:
    # One is far below the variation of a heart, in milliseconds and in their squares.
    return float(np.log(value + 1.0))
