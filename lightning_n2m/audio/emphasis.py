"""Pre-emphasis: the spectrum of music made flatter before noise is added to it.

Music at 8 kHz lies some 35 dB below music at 200 Hz, so white noise, and with it whatever a small
network leaves of it, drowns the treble long before the bass: what remains is a hiss. One zero in
front of the diffusion and its pole behind it shape what remains like the music itself.
"""

from __future__ import annotations

import torch
import torchaudio.functional as audio_functional
from torch import Tensor


def emphasise(audio: Tensor, coefficient: float) -> Tensor:
    """``y_n = x_n - coefficient x_(n-1)`` along time; unchanged for 0."""
    return audio_functional.preemphasis(audio, coefficient) if coefficient else audio


def restore(audio: Tensor, coefficient: float) -> Tensor:
    """The inverse of `emphasise`: ``x_n = y_n + coefficient x_(n-1)``."""
    if not coefficient:
        return audio
    poles = torch.tensor([1.0, -coefficient], device=audio.device)
    zeros = torch.tensor([1.0, 0.0], device=audio.device)
    # torchaudio's deemphasis would also clip to [-1, 1], which is for the writer of a file to do.
    with torch.autocast(audio.device.type, enabled=False):
        return audio_functional.lfilter(audio.float(), poles, zeros, clamp=False)
