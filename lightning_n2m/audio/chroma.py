"""Energy of the twelve pitch classes of a recording."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_A4, _OCTAVES = 440.0, (110.0, 1760.0)
_A = 9  # pitch class, from C up


def mean_chroma(audio: Tensor, rate: int) -> Tensor:
    """Energy of the pitch classes of ``(1, t)`` between 110 and 1760 Hz, ``(12,)`` from C up.

    Args:
        audio: Audio.
        rate: Its rate in Hz.
    """
    size = 1 << (round(rate * 0.37) - 1).bit_length()  # resolution of about 3 Hz: semitones from 110 Hz on
    length = max(size, audio.shape[-1])
    padded = F.pad(audio[0], (0, length - audio.shape[-1]))
    power = torch.stft(padded, size, size // 4, window=torch.hann_window(size), return_complex=True).abs()
    frequency = torch.arange(size // 2 + 1) * rate / size
    pitch = 12 * torch.log2(frequency.clamp(min=1) / _A4)
    inside = (frequency >= _OCTAVES[0]) & (frequency <= _OCTAVES[1])
    nearest = pitch.round()
    # A bin counts for the nearest pitch, less the further it lies from it.
    weight = (1 - 2 * (pitch - nearest).abs()).clamp(min=0) * inside
    classes = (nearest.long() + _A) % 12
    return torch.zeros(12).index_add_(0, classes, weight * power.sum(1))
