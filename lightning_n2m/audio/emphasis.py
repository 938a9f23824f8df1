"""Pre-emphasis: the spectrum of music made flatter before noise is added to it.

Music at 8 kHz lies some 35 dB below music at 200 Hz, so white noise, and with it whatever a small
network leaves of it, drowns the treble long before the bass: what remains is a hiss. One zero in
front of the diffusion and its pole behind it shape what remains like the music itself.
"""

from __future__ import annotations

import torch.nn.functional as F
import torchaudio.functional as audio_functional
from torch import Tensor


def emphasise(audio: Tensor, coefficient: float) -> Tensor:
    """``y_n = x_n - coefficient x_(n-1)`` along time; unchanged for 0."""
    return audio_functional.preemphasis(audio, coefficient) if coefficient else audio


def restore(audio: Tensor, coefficient: float) -> Tensor:
    """The inverse of `emphasise`, in 32 bits: ``x_n = y_n + coefficient x_(n-1)``; unchanged for 0."""
    if not coefficient:
        return audio
    # 1 / (1 - cz) is the product of all 1 + (cz)^(2^k), of which a few do until c^(2^k) is nothing: a
    # handful of sums of whole sequences, where a recursion takes as many steps as there are samples.
    audio, delay, gain = audio.float(), 1, coefficient
    while abs(gain) > 1e-9 and delay < audio.shape[-1]:
        audio = audio + gain * F.pad(audio[..., :-delay], (delay, 0))
        delay, gain = 2 * delay, gain * gain
    return audio
