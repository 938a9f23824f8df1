"""Removal of tones at the multiples of rate / stride, which a U-Net over audio cannot suppress.

A U-Net enters at the stride of its first level. To it, a component at a multiple of rate / stride looks like
a constant. Where all phases of its last transposed convolution are equal, a constant leads to a constant
again (`lightning_n2m.networks.resampling.equalise_phases`): the network cannot remove noise of exactly these
frequencies, and it stays in the output as faint tones. Where they are not equal, the network adds such tones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def remove_stride_tones(audio: Tensor, stride: int, length: int) -> Tensor:
    """Take out what repeats itself with the period of the stride, except for the mean.

    Estimated is, by phase (time modulo stride), the mean over ``length`` samples around each sample. Notches
    of about ``rate / length`` around the multiples of rate / stride result; all else is unchanged.

    Args:
        audio: ``(..., t)``.
        stride: Stride of the network's first level.
        length: Samples of the mean.

    Returns:
        Audio of the same shape in float32.
    """
    audio = audio.float()
    rest = audio.shape[-1] % stride
    if audio.shape[-1] < stride:
        return audio
    phases = audio[..., : audio.shape[-1] - rest].unflatten(-1, (-1, stride)).transpose(-1, -2)
    width = length // stride | 1  # odd, so that the mean is centred
    rows = phases.flatten(0, -2).unsqueeze(1)
    means = F.avg_pool1d(rows, width, 1, width // 2, count_include_pad=False).view_as(phases)
    tones = (means - means.mean(dim=-2, keepdim=True)).transpose(-1, -2).flatten(-2)
    return audio - torch.cat([tones, tones[..., -stride:][..., :rest]], dim=-1)
