"""Embeddings of diffusion time, noise level of the conditioning, pooled text and position."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

GUIDANCE_UNIT = 20.0  # Guidance scale that is embedded like the time 1.


class TimeEmbedding(nn.Module):
    """Embedding of a float in [0, 1]: sines and cosines, then one linear layer (appendix B).

    The paper does not give the frequencies. These are of Ho et al. 2020, with times up to 1000.

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


def zero_embedding(width: int) -> TimeEmbedding:
    """An embedding whose output is zero until it is trained: a new input of a trained network."""
    embedding = TimeEmbedding(width)
    nn.init.zeros_(embedding.linear.weight)
    nn.init.zeros_(embedding.linear.bias)
    return embedding


class PooledText(nn.Module):
    """Embedding of a whole text: the mean of its vectors, normalised; exactly zero for the null text.

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

    The paper does not mention positions in self-attention. Rotary embedding has no weights and no maximum
    length, so that a stage can generate other lengths than it was trained on.
    """
    half = x.shape[-1] // 2
    frequencies = torch.exp(torch.arange(half, device=x.device) * (-math.log(10_000) / half))
    angles = torch.arange(x.shape[-2], device=x.device)[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    # Pairs (first, second) rotate by the angle; an odd last channel stays as it is.
    first, second = x[..., :half], x[..., half : 2 * half]
    rotated = [first * cos - second * sin, first * sin + second * cos]
    return torch.cat([*rotated, x[..., 2 * half :]], dim=-1)
