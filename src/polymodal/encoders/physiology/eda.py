"""Describe skin conductance (EDA) and skin temperature over an utterance.

Terms and thresholds: Boucsein et al., Publication recommendations for electrodermal measurements,
Psychophysiology 49, 2012. The slow (tonic) and fast (phasic) components are those of neurokit2:
Makowski et al., NeuroKit2, Behavior Research Methods 53, 2021.

Legend: tick = quarters of a second, sample = values of the device, response = skin
conductance responses.
"""

import warnings
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Features = dict[str, float]
TICK_HZ = 4.0
# The slow component has periods of 20 s and more: half a period is the least to separate it.
MIN_PHASIC_S = 10.0
MIN_RESPONSE_US = 0.01
LARGE_RESPONSE_US = 0.05
# Responses rise for about 1 to 3 s; slower rises are drift.
MAX_RISE_S = 5.0
# Fraction of the steepest step of a rise: flatter steps before it are drift.
ONSET = 0.1
# About the resolution of a wristband; below it are logarithms of noise.
RESOLUTION_US = 1e-3

EDA_NAMES = (
    *("observed_share", "mean_us", "log_mean", "log_deviation", "range_us", "slope_us_per_min"),
    *("relative_slope_per_min", "relative_deviation", "log_change"),
    *("tonic_deviation_us", "tonic_slope_us_per_min"),
    *("phasic_deviation_us", "log_phasic_deviation", "log_relative_phasic_deviation"),
    *("responses_per_min", "large_responses_per_min", "response_amplitude_us"),
    *("largest_response_us", "log_largest_response", "response_sum_us_per_min"),
    *("log_response_sum", "log_relative_response_sum", "response_rise_s"),
)
TEMPERATURE_NAMES = (
    *("observed_share", "mean_celsius", "deviation_celsius", "range_celsius"),
    "slope_celsius_per_min",
)


def eda_features(values: Values, rate_hz: float, duration_s: float) -> Features:
    """Describe skin conductance in microsiemens, `[sample]`; NaN where nothing was measured.

    `duration_s` is the length of the utterance, which the signal may not cover. Returns name, of
    `EDA_NAMES`, to value; features that cannot be computed are left out.

    Example:
        >>> features = eda_features(np.full(80, 2.0), rate_hz=8.0, duration_s=20.0)
        >>> features["observed_share"], features["mean_us"]
        (0.5, 2.0)
    """
    level = on_ticks(values, rate_hz)
    features = {"observed_share": observed_fraction(values, rate_hz, duration_s)}
    if len(level) < 2:
        return features
    mean_us, slope = max(float(level.mean()), RESOLUTION_US), slope_per_min(level)
    features |= {
        "mean_us": float(level.mean()),
        "log_mean": _log(mean_us),
        "log_deviation": _log(level.std()),
        "range_us": float(np.ptp(level)),
        "slope_us_per_min": slope,
        "relative_slope_per_min": slope / mean_us,
        "relative_deviation": float(level.std()) / mean_us,
        "log_change": _log(np.abs(np.diff(level)).mean()),
    }
    if len(level) >= MIN_PHASIC_S * TICK_HZ:
        features |= _component_features(level, mean_us)
    return features


def temperature_features(values: Values, rate_hz: float, duration_s: float) -> Features:
    """Describe skin temperature in degrees Celsius: see `eda_features`.

    Example:
        >>> features = temperature_features(np.linspace(30, 31, 241), 4.0, 60.25)
        >>> round(features["slope_celsius_per_min"], 6)
        1.0
    """
    level = on_ticks(values, rate_hz)
    features = {"observed_share": observed_fraction(values, rate_hz, duration_s)}
    if len(level) < 2:
        return features
    return features | {
        "mean_celsius": float(level.mean()),
        "deviation_celsius": float(level.std()),
        "range_celsius": float(np.ptp(level)),
        "slope_celsius_per_min": slope_per_min(level),
    }


def on_ticks(values: Values, rate_hz: float) -> Values:
    """Average a signal over quarters of a second, so that its rate no longer matters.

    Gaps are filled linearly; the time before the first and after the last measured value is left
    out.

    Example:
        >>> on_ticks(np.array([np.nan, 1, 3, 5, np.nan, np.nan, 9, 9]), 8.0)
        array([1. , 4. , 6.5, 9. ])
    """
    finite = np.isfinite(values)
    ticks = (np.flatnonzero(finite) * TICK_HZ / rate_hz).astype(np.int64)
    if not len(ticks):
        return np.zeros(0)
    ticks -= ticks[0]
    counts = np.bincount(ticks)
    observed = np.flatnonzero(counts)
    means = np.bincount(ticks, weights=values[finite])[observed] / counts[observed]
    return np.interp(np.arange(len(counts)), observed, means)


def observed_fraction(values: Values, rate_hz: float, duration_s: float) -> float:
    """Return the fraction of an utterance with finite values, 0 to 1.

    Example:
        >>> observed_fraction(np.array([1.0, np.nan]), rate_hz=1.0, duration_s=2.0)
        0.5
    """
    measured_s = int(np.isfinite(values).sum()) / rate_hz
    return min(1.0, measured_s / duration_s) if duration_s > 0 else 0.0


def slope_per_min(level: Values) -> float:
    """Return the slope of the straight line through at least two ticks.

    Example:
        >>> round(slope_per_min(np.array([0.0, 0.25, 0.5])), 6)
        60.0
    """
    return float(np.polyfit(np.arange(len(level)) / TICK_HZ, level, 1)[0]) * 60.0


def responses(level: Values) -> tuple[Values, Values]:
    """Find skin conductance responses: rises from a trough to the next peak.

    They are searched in the level itself, as the phasic component swings back after each response,
    which would be added to the next one.

    `level` is in microsiemens, `[tick]`. Returns amplitudes in microsiemens, and rise times in
    seconds, `[response]`.

    Example:
        >>> responses(np.array([2.0, 2, 2, 2.3, 2.6, 2.6, 2.6, 2.5, 2.5, 2.5]))
        (array([0.6]), array([1.]))
    """
    # Over three ticks, as one step of the device's resolution would divide a response in two.
    smooth = np.convolve(np.pad(level, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    steps = np.diff(smooth)
    moving = np.flatnonzero(steps)
    turned = np.sign(steps[moving[1:]]) != np.sign(steps[moving[:-1]])
    turns = [*moving[:1], *moving[1:][turned], *(moving[-1:] + 1)]
    pairs = []
    for trough, peak in pairwise(turns):
        onset = trough + int(np.argmax(steps[trough:peak] >= ONSET * steps[trough:peak].max()))
        height_us, rise_s = smooth[peak] - smooth[onset], (peak - onset) / TICK_HZ
        if height_us >= MIN_RESPONSE_US and rise_s <= MAX_RISE_S:
            pairs.append((height_us, rise_s))
    heights_us, rises_s = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return heights_us, rises_s


def _component_features(level: Values, mean_us: float) -> Features:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import neurokit2  # here, as it is optional and slow to import

        components = neurokit2.eda_phasic(level, sampling_rate=TICK_HZ, method="highpass")
    tonic, phasic = components["EDA_Tonic"].to_numpy(), components["EDA_Phasic"].to_numpy()
    heights, rise_s = responses(level)
    minutes, largest = len(level) / TICK_HZ / 60.0, float(heights.max(initial=0.0))
    total = float(heights.sum()) / minutes
    features = {
        "tonic_deviation_us": float(tonic.std()),
        "tonic_slope_us_per_min": slope_per_min(tonic),
        "phasic_deviation_us": float(phasic.std()),
        "log_phasic_deviation": _log(phasic.std()),
        "log_relative_phasic_deviation": _log(phasic.std() / mean_us),
        "responses_per_min": len(heights) / minutes,
        "large_responses_per_min": int((heights >= LARGE_RESPONSE_US).sum()) / minutes,
        "largest_response_us": largest,
        "log_largest_response": _log(largest, MIN_RESPONSE_US),
        "response_sum_us_per_min": total,
        "log_response_sum": _log(total, MIN_RESPONSE_US),
        "log_relative_response_sum": _log(total / mean_us, MIN_RESPONSE_US),
    }
    if len(heights):
        features["response_amplitude_us"] = float(heights.mean())
        features["response_rise_s"] = float(rise_s.mean())
    return features


def _log(value: float, smallest: float = RESOLUTION_US) -> float:
    return float(np.log(value + smallest))
