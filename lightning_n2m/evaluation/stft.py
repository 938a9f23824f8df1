"""Multi-resolution STFT distance (Yamamoto et al. 2020): how far a copy is from its original."""

from __future__ import annotations

import torch
from torch import Tensor


def stft_distance(made: Tensor, real: Tensor, windows: tuple[int, ...] = (512, 1024, 2048)) -> Tensor:
    """Spectral convergence plus mean absolute difference of log magnitudes, averaged over resolutions.

    Phases are not compared: a vocoder may choose its own.

    Args:
        made: ``(b, 1, t)``.
        real: ``(b, 1, t)``, of the same rate.
        windows: Window lengths in samples; the hop is a quarter.

    Returns:
        ``(b,)``; 0 for equal magnitudes.
    """
    distances = []
    for length in windows:
        window = torch.hann_window(length, device=made.device)
        a, b = (
            torch.stft(x.squeeze(1).float(), length, length // 4, window=window, return_complex=True)
            .abs()
            .clamp(min=1e-5)
            for x in (made, real)
        )
        convergence = (a - b).norm(dim=(1, 2)) / b.norm(dim=(1, 2))
        distances.append(convergence + (a.log() - b.log()).abs().mean(dim=(1, 2)))
    return torch.stack(distances).mean(dim=0)
