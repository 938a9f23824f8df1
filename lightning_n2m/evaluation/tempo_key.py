"""Tempo and key by published estimators of librosa, which are independent of any training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_n2m.conditioning.key import best_key
from lightning_n2m.conditioning.numbers import ENHARMONIC
from lightning_n2m.errors import InputError


def _librosa() -> Any:
    try:
        import librosa
    except ImportError as error:
        raise InputError(
            f"Tempo and key are estimated by librosa, which cannot be imported ({error}); run "
            "'pip install librosa'."
        ) from error
    return librosa


def tempo(audio: Tensor, sample_rate: int) -> float:
    """Tempo of a clip ``(1, t)`` in beats per minute.

    Raises:
        InputError: if librosa is not installed.
    """
    librosa = _librosa()
    samples = audio[0].float().cpu().numpy()
    return float(librosa.feature.tempo(y=samples, sr=sample_rate)[0])


def same_tempo(estimate: float, requested: float, tolerance: float = 0.08) -> bool:
    """Whether two tempos agree within a tolerance, up to octave errors: half, double, a third, triple."""
    if estimate <= 0 or requested <= 0:
        return False
    return any(
        abs(math.log(estimate * factor / requested)) <= math.log1p(tolerance)
        for factor in (1, 2, 1 / 2, 3, 1 / 3)
    )


def key(audio: Tensor, sample_rate: int) -> tuple[str, str]:
    """Tonic and mode of a clip ``(1, t)``: the profile that its chroma correlates with best.

    Raises:
        InputError: if librosa is not installed.
    """
    librosa = _librosa()
    samples = audio[0].float().cpu().numpy()
    # Percussion has no pitch and would raise all twelve classes.
    harmonic = librosa.effects.harmonic(samples, margin=2.0)
    chroma = librosa.feature.chroma_cqt(y=harmonic, sr=sample_rate, bins_per_octave=36).mean(axis=1)
    return best_key(chroma)


def same_key(estimate: tuple[str, str], tonic: str, mode: str) -> bool:
    """Whether two keys are equal up to enharmonic spelling (G sharp is A flat)."""
    return estimate == (ENHARMONIC.get(tonic, tonic), mode)


def kept_keys(
    outputs: Sequence[Tensor], references: Sequence[Tensor], sample_rate: int
) -> tuple[float, float]:
    """How often processed clips ``(1, t)`` have the key of the clips that they come from.

    Returns:
        Share of the clips whose two estimated keys agree, and the share of all pairs of two references that
        agree: chance.

    Raises:
        InputError: if librosa is not installed.
    """
    before, after = ([key(clip, sample_rate) for clip in clips] for clips in (references, outputs))
    count = len(before)
    kept = sum(a == b for a, b in zip(after, before, strict=True)) / count
    pairs = sum(a == b for a in before for b in before) - count
    return kept, pairs / (count * (count - 1)) if count > 1 else math.nan
