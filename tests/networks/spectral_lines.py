"""Tones in the output of a network that are not in its input."""

from __future__ import annotations

import torch
from torch import Tensor


def largest_line(audio: Tensor, period: int, cells: int = 128) -> float:
    """Excess in dB of the mean power spectrum at the multiples of rate / period over its neighbourhood.

    Args:
        audio: ``(b, 1, t)``.
        period: The period in samples whose multiples are examined: a stride, or a product of strides.
        cells: Bins between two multiples.
    """
    size = period * cells
    window = torch.hann_window(size)
    spectrum = torch.stft(
        audio.flatten(0, 1), size, size // 2, window=window, center=False, return_complex=True
    )
    power = spectrum.abs().square().mean((0, 2))
    excess = []
    for line in range(cells, size // 2 + 1, cells):
        # A Hann window spreads a tone over two bins on either side.
        below, above = power[line - cells // 2 : line - 2], power[line + 3 : line + cells // 2]
        neighbourhood = torch.cat([below, above]).median()
        excess.append(10 * torch.log10(power[line] / neighbourhood).item())
    return max(excess)
