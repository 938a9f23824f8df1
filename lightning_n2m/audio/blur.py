"""Gaussian blur with one standard deviation per sample (conditioning augmentation, section 4.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_kernel(width: int, std: Tensor) -> Tensor:
    """Normalised Gaussian kernels of ``width`` taps, ``(b, width)``, for standard deviations ``(b,)``."""
    taps = torch.arange(width, device=std.device) - (width - 1) / 2
    kernel = torch.exp(-0.5 * (taps / std[:, None]) ** 2)
    return kernel / kernel.sum(dim=1, keepdim=True)


def _blur_time(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve ``(b, c, t)`` along t with the kernel of each sample ``(b, width)``, in float32."""
    b, c, t = x.shape
    width = kernel.shape[1]
    padded = F.pad(x, ((width - 1) // 2, width // 2), mode="replicate")
    # One group per sample and channel, so that each has its own kernel.
    weight = kernel.float().repeat_interleave(c, dim=0)[:, None]
    # Autocast would round signal and kernel to 16 bits, which adds noise at -50 dB.
    with torch.autocast(x.device.type, enabled=False):
        blurred = F.conv1d(padded.float().view(1, b * c, -1), weight, groups=b * c)
    return blurred.view(b, c, t).to(x.dtype)


def blur_1d(x: Tensor, std: Tensor, width: int = 10) -> Tensor:
    """Blur audio ``(b, c, t)`` along time.

    The cascader's kernel has size 10 and a standard deviation of 0.1 to 5 samples. An even kernel has no
    middle tap, so that it delays by half a sample, as in the paper.
    """
    return _blur_time(x, gaussian_kernel(width, std))


def blur_2d(x: Tensor, std: Tensor, width: int = 5) -> Tensor:
    """Blur a spectrogram ``(b, channels, frames)`` along both axes.

    The vocoder's kernel has 5 x 5 cells and a standard deviation of 0.2 to 1.
    """
    kernel = gaussian_kernel(width, std)
    return _blur_time(_blur_time(x, kernel).transpose(1, 2), kernel).transpose(1, 2)
