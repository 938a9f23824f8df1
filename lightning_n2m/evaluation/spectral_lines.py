"""Constant tones: narrow lines that the spectra of many outputs share, whatever their prompts.

Strided layers whose kernel the stride does not divide leave such lines at multiples of rate / stride
(the checkerboard pattern of Odena et al. 2016). Music has none: its notes differ from clip to clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MINIMUM_CLIPS = 8  # the median of fewer still shows notes that pieces share
_WINDOW = 4096
_LOWEST = 60.0  # Hz; below, the neighbourhood is one-sided
_NEIGHBOURHOOD = 150.0  # Hz on either side
_FLOOR = 1e-10  # mean square of a bin, -100 dB: below the rounding noise of 16-bit files


@dataclass(frozen=True)
class SpectralLine:
    """The most prominent line of a set of clips.

    Args:
        excess: Level above the neighbourhood, in dB.
        frequency: Frequency in Hz.
    """

    excess: float
    frequency: float


def clip_spectrum(audio: Tensor) -> Tensor:
    """Median over time of the power spectrum of clips ``(b, 1, t)``, in dB: ``(b, 2049)``.

    The median over time ignores notes and keeps what sounds for more than half of the clip.
    """
    window = torch.hann_window(_WINDOW, device=audio.device)
    frames = torch.stft(
        audio.squeeze(1).float(),
        _WINDOW,
        _WINDOW // 2,
        window=window,
        return_complex=True,
        pad_mode="constant",
    )
    power = frames.abs().square() / (window.sum() ** 2 / 2)
    return 10 * power.clamp(min=_FLOOR).log10().median(dim=-1).values


def largest_line(spectra: Tensor, sample_rate: int) -> SpectralLine:
    """Largest excess of the median spectrum of all clips above its neighbourhood.

    Args:
        spectra: What `clip_spectrum` gives, ``(clips, bins)``.
        sample_rate: Rate of the clips in Hz.
    """
    spectrum = spectra.float().median(dim=0).values
    hertz = sample_rate / 2 / (len(spectrum) - 1)
    half = max(1, round(_NEIGHBOURHOOD / hertz))
    padded = torch.nn.functional.pad(spectrum[None, None], (half, half), mode="reflect")[0, 0]
    neighbourhood = padded.unfold(0, 2 * half + 1, 1).median(dim=-1).values
    excess = (spectrum - neighbourhood)[round(_LOWEST / hertz) :]
    place = int(excess.argmax())
    return SpectralLine(float(excess[place]), (place + round(_LOWEST / hertz)) * hertz)
