"""Gaussian blur with a width of its own for each sample (section 4.1, conditioning augmentation)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_kernel(width: int, std: Tensor) -> Tensor:
    """Normalised Gaussian kernels of ``width`` taps, one a standard deviation: ``(b, width)``."""
    taps = torch.arange(width, device=std.device) - (width - 1) / 2
    kernel = torch.exp(-0.5 * (taps / std[:, None]) ** 2)
    return kernel / kernel.sum(dim=1, keepdim=True)


def _blur_time(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve ``(b, c, t)`` along t with the kernel of each sample ``(b, width)``."""
    b, c, t = x.shape
    width = kernel.shape[1]
    padded = F.pad(x, ((width - 1) // 2, width // 2), mode="replicate")
    weight = kernel.to(x.dtype).repeat_interleave(c, dim=0)[:, None]
    return F.conv1d(padded.view(1, b * c, -1), weight, groups=b * c).view(b, c, t)


def blur_1d(x: Tensor, std: Tensor, width: int = 10) -> Tensor:
    """Blur audio ``(b, c, t)`` along time; the cascader's kernel has size 10, std 0.1 to 5 samples.

    An even kernel has no middle tap: its delay of half a sample is the paper's.
    """
    return _blur_time(x, gaussian_kernel(width, std))


def blur_2d(x: Tensor, std: Tensor, width: int = 5) -> Tensor:
    """Blur a spectrogram ``(b, channels, frames)`` both ways; the vocoder's kernel is 5 x 5, std 0.2 to 1."""
    kernel = gaussian_kernel(width, std)
    return _blur_time(_blur_time(x, kernel).transpose(1, 2), kernel).transpose(1, 2)
