"""Multi-resolution STFT distance (Yamamoto et al. 2020) of a copy from its original."""

from __future__ import annotations

import torch
from torch import Tensor


def stft_distance(copy: Tensor, original: Tensor, windows: tuple[int, ...] = (512, 1024, 2048)) -> Tensor:
    """Spectral convergence plus mean absolute difference of log magnitudes, averaged over resolutions.

    Phases are not compared, since a vocoder may choose its own.

    Args:
        copy: ``(b, 1, t)``.
        original: ``(b, 1, t)``, of the same rate.
        windows: Window lengths in samples; the hop is a quarter.

    Returns:
        ``(b,)``; 0 for equal magnitudes.
    """
    distances = []
    for length in windows:
        window = torch.hann_window(length, device=copy.device)
        a, b = (
            torch.stft(x.squeeze(1).float(), length, length // 4, window=window, return_complex=True)
            .abs()
            .clamp(min=1e-5)
            for x in (copy, original)
        )
        convergence = (a - b).norm(dim=(1, 2)) / b.norm(dim=(1, 2))
        distances.append(convergence + (a.log() - b.log()).abs().mean(dim=(1, 2)))
    return torch.stack(distances).mean(dim=0)
