"""Embeddings in vectors: diffusion time, augmentation level, a whole text, position."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """A float in [0, 1] as a vector: sines and cosines, then one linear layer (appendix B).

    The paper does not give the frequencies; they are those of Ho et al. 2020, whose time runs to 1000.

    Args:
        width: Width of the vector, the base dimension of the network.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """``(b,)`` to ``(b, width)``."""
        half = self.width // 2
        frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000) / half))
        angles = 1000 * t[:, None].float() * frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        return self.linear(waves.to(self.linear.weight.dtype))


class PooledText(nn.Module):
    """A text as one vector: the mean of its vectors, normalised; exactly zero for the null text.

    Args:
        text_channels: Width of the text vectors.
        width: Width of the vector, the base dimension of the network.
    """

    def __init__(self, text_channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(text_channels)
        self.linear = nn.Linear(text_channels, width)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        """``(b, n, d)`` and ``(b, n)`` to ``(b, width)``."""
        tokens = mask.sum(1, keepdim=True)
        mean = (text * mask[..., None]).sum(1) / tokens.clamp(min=1)
        return self.linear(self.norm(mean)) * (tokens > 0)


def rotate(x: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021) of queries or keys ``(b, heads, t, width)``.

    The paper names no positions in self-attention. Rotation has no weights and knows no longest
    sequence, so that a stage may run on lengths that it was not trained on.
    """
    half = x.shape[-1] // 2
    frequencies = torch.exp(torch.arange(half, device=x.device) * (-math.log(10_000) / half))
    angles = torch.arange(x.shape[-2], device=x.device)[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half : 2 * half]
    return torch.cat([a * cos - b * sin, a * sin + b * cos, x[..., 2 * half :]], dim=-1)
