"""Tempo and key by published estimators, which know nothing of any training: librosa."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_n2m.errors import InputError

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_SPELT = {
    "Db": "C#",
    "D#": "Eb",
    "Gb": "F#",
    "G#": "Ab",
    "A#": "Bb",
    "Cb": "B",
    "Fb": "E",
    "E#": "F",
    "B#": "C",
}
# How often each degree sounds in a key (Temperley 2007, from the Kostka-Payne corpus), from the tonic up.
_MAJOR = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
_MINOR = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)


def _librosa() -> Any:
    try:
        import librosa
    except ImportError as error:
        raise InputError(
            f"Tempo and key are judged by librosa, which cannot be imported ({error}); run "
            "'pip install librosa'."
        ) from error
    return librosa


def tempo(audio: Tensor, sample_rate: int) -> float:
    """Tempo of a clip ``(1, t)`` in beats a minute.

    Raises:
        InputError: if librosa is not installed.
    """
    librosa = _librosa()
    samples = audio[0].float().cpu().numpy()
    return float(librosa.feature.tempo(y=samples, sr=sample_rate)[0])


def same_tempo(heard: float, asked: float, tolerance: float = 0.08) -> bool:
    """Whether two tempos agree within a tolerance, octave errors forgiven: half, double, a third, triple."""
    return any(
        abs(math.log(heard * factor / asked)) <= math.log1p(tolerance) for factor in (1, 2, 1 / 2, 3, 1 / 3)
    )


def key(audio: Tensor, sample_rate: int) -> tuple[str, str]:
    """Tonic and mode of a clip ``(1, t)``: the profile that its chroma correlates with best.

    Raises:
        InputError: if librosa is not installed.
    """
    librosa = _librosa()
    samples = audio[0].float().cpu().numpy()
    # Percussion has no pitch, and would only lift all twelve.
    harmonic = librosa.effects.harmonic(samples, margin=2.0)
    chroma = librosa.feature.chroma_cqt(y=harmonic, sr=sample_rate, bins_per_octave=36).mean(axis=1)
    return best_key(chroma)


def best_key(chroma: NDArray[np.floating]) -> tuple[str, str]:
    """Tonic and mode of the weights of the twelve pitch classes from C up."""
    candidates = {
        (TONICS[tonic], mode): np.corrcoef(chroma, np.roll(profile, tonic))[0, 1]
        for mode, profile in (("major", _MAJOR), ("minor", _MINOR))
        for tonic in range(12)
    }
    return max(candidates, key=lambda name: candidates[name])


def same_key(heard: tuple[str, str], tonic: str, mode: str) -> bool:
    """Whether two keys sound the same notes around the same tonic, however it is spelt."""
    return heard == (_SPELT.get(tonic, tonic), mode)
