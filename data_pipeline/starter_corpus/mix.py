"""Mixing: levels of melody, accompaniment and drums, and an even loudness."""

from __future__ import annotations

import numpy as np

LOUDNESS_DB = -18.0
PEAK_DB = -1.0
_LEAD_DB = 1.0  # Melody over accompaniment.
_DRUMS_DB = (-8.0, -1.0)  # Range of drums under accompaniment; grooves differ by 20 dB.


def _level(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.square(samples).mean() + 1e-12))


def mix(lead: np.ndarray, rest: np.ndarray, drums: np.ndarray) -> np.ndarray:
    """Add melody, accompaniment and drums at sensible levels.

    Args:
        lead: Samples ``(time,)`` of the melody instrument.
        rest: Samples of the accompaniment; zeros when there is none.
        drums: Samples of the drums; zeros when there are none.
    """
    reference = _level(rest)
    if reference < -90:
        return lead + drums
    wanted = np.clip(_level(drums), reference + _DRUMS_DB[0], reference + _DRUMS_DB[1])
    gain = float(10 ** ((wanted - _level(drums)) / 20)) if drums.any() else 0.0
    return lead * 10 ** ((reference + _LEAD_DB - _level(lead)) / 20) + rest + drums * gain


def level(samples: np.ndarray) -> np.ndarray:
    """Bring samples to -18 dBFS RMS; peaks bend softly below -1 dBFS instead of being cut.

    Raises:
        RuntimeError: if the samples are silent.
    """
    if _level(samples) < -80:
        raise RuntimeError("a rendered piece is silent")
    top = 10 ** (PEAK_DB / 20) - 1e-3
    knee = 0.6 * top
    result = samples
    for _ in range(3):  # Bent peaks take a little loudness away: a few rounds give it back.
        result = result * 10 ** ((LOUDNESS_DB - _level(result)) / 20)
        size = np.abs(result)
        bent = knee + (top - knee) * np.tanh((size - knee) / (top - knee))
        result = np.where(size > knee, np.sign(result) * bent, result)
    return result.astype(np.float32)
