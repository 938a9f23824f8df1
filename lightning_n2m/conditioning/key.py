"""The key of a recording, from its pitch classes and the degrees that keys use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_n2m.audio.chroma import mean_chroma
from lightning_n2m.conditioning.numbers import TONICS

# Probability of each degree in a key (Temperley 2007, from the Kostka-Payne corpus), from the tonic up.
_MAJOR = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
_MINOR = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)
MIN_CORRELATION = 0.5


def estimate_key(audio: Tensor, rate: int) -> tuple[str, str] | None:
    """Tonic and mode of ``(1, t)``; null where its pitch classes are not those of a key.

    Args:
        audio: Audio.
        rate: Its rate in Hz.
    """
    # The root makes long loud notes count less.
    chroma = mean_chroma(audio, rate).sqrt().numpy()
    if np.ptp(chroma) < 1e-6:
        return None
    scores = _correlations(chroma)
    key = max(scores, key=lambda name: scores[name])
    return key if scores[key] >= MIN_CORRELATION else None


def best_key(chroma: NDArray[np.floating]) -> tuple[str, str]:
    """Tonic and mode of the weights of the twelve pitch classes from C up."""
    scores = _correlations(chroma)
    return max(scores, key=lambda name: scores[name])


def _correlations(chroma: NDArray[np.floating]) -> dict[tuple[str, str], float]:
    """Correlation of pitch classes with the profile of each key."""
    return {
        (TONICS[tonic], mode): float(np.corrcoef(chroma, np.roll(profile, tonic))[0, 1])
        for mode, profile in (("major", _MAJOR), ("minor", _MINOR))
        for tonic in range(12)
    }
