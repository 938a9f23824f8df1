"""Pre-emphasis: a filter that flattens the spectrum of music before noise is added.

Music has about 35 dB less power at 8 kHz than at 200 Hz. White noise therefore masks high frequencies long
before low ones, and the noise that a small network leaves in its output is audible as a hiss. A filter with
one zero before the diffusion, and its inverse after sampling, give the remaining noise the spectrum of
music.
"""

from __future__ import annotations

import torch.nn.functional as F
import torchaudio.functional as audio_functional
from torch import Tensor


def emphasise(audio: Tensor, coefficient: float) -> Tensor:
    """``y_n = x_n - coefficient x_(n-1)`` along time; unchanged for 0."""
    return audio_functional.preemphasis(audio, coefficient) if coefficient else audio


def restore(audio: Tensor, coefficient: float) -> Tensor:
    """The inverse of `emphasise`, in float32: ``x_n = y_n + coefficient x_(n-1)``; unchanged for 0."""
    if not coefficient:
        return audio
    # 1 / (1 - cz) is the product of all 1 + (cz)^(2^k). A few factors suffice, until c^(2^k) is negligible:
    # a few sums of whole sequences, where the recursion takes one step per sample.
    audio, delay, gain = audio.float(), 1, coefficient
    while abs(gain) > 1e-9 and delay < audio.shape[-1]:
        audio = audio + gain * F.pad(audio[..., :-delay], (delay, 0))
        delay, gain = 2 * delay, gain * gain
    return audio
