"""Blocks of the U-Net (figures 1 and 5 of the paper). Sequences are ``(b, c, t)``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.networks.convolution import Conv
from lightning_n2m.networks.embedding import rotate
from lightning_n2m.networks.film import FiLM
from lightning_n2m.networks.norm import GroupNorm


class ResidualMlp(nn.Module):
    """The residual MLP after an attention layer; its hidden width is twice the channels (appendix B)."""

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = GroupNorm(channels, groups)
        self.rise = Conv(channels, 2 * channels, 1)
        self.fall = Conv(2 * channels, channels, 1)
        nn.init.zeros_(self.fall.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, t)`` to ``(b, c, t)``."""
        return x + self.fall(F.silu(self.rise(self.norm(x))))


class SelfAttention(nn.Module):
    """Self-attention over time with its residual MLP."""

    def __init__(self, channels: int, heads: int, groups: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(channels, groups)
        self.qkv = Conv(channels, 3 * channels, 1, bias=False)
        self.out = Conv(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        self.mlp = ResidualMlp(channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, t)`` to ``(b, c, t)``."""
        qk, v = self.qkv(self.norm(x)).split([2 * x.shape[1], x.shape[1]], dim=1)
        q, k = rotate(_split(qk, 2 * self.heads)).chunk(2, dim=1)
        attended = F.scaled_dot_product_attention(q, k, _split(v, self.heads))
        return self.mlp(x + self.out(_merge(attended)))


class CrossAttention(nn.Module):
    """Cross-attention to text vectors with its residual MLP.

    For a sample without any token, the output of the attention is exactly zero: the null text of
    section 3.4.
    """

    def __init__(self, channels: int, text_channels: int, heads: int, groups: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(channels, groups)
        self.text_norm = nn.LayerNorm(text_channels)
        self.q = Conv(channels, channels, 1, bias=False)
        self.kv = nn.Linear(text_channels, 2 * channels, bias=False)
        self.out = Conv(channels, channels, 1)
        self.mlp = ResidualMlp(channels, groups)

    def forward(self, x: Tensor, text: Tensor | None, mask: Tensor | None) -> Tensor:
        """``(b, c, t)``, ``(b, n, d)`` and ``(b, n)`` to ``(b, c, t)``."""
        if text is None or mask is None:
            return self.mlp(x)
        present = mask.any(dim=1)
        # A softmax over no token is NaN. Samples without a token attend to all, and are set to zero below.
        visible = (mask | ~present[:, None])[:, None, None, :]
        q = _split(self.q(self.norm(x)), self.heads)
        k, v = (_split(y.transpose(1, 2), self.heads) for y in self.kv(self.text_norm(text)).chunk(2, dim=-1))
        attended = self.out(_merge(F.scaled_dot_product_attention(q, k, v, visible)))
        return self.mlp(x + attended * present[:, None, None])


class Block(nn.Module):
    """Convolution block of figure 5, with optional attention.

    The time embedding is applied before the residual split, so that it also reaches the shortcut.

    Args:
        channels: Channels of input and output.
        kernel_size: Kernel of the two convolutions.
        embedding: Width of the time embedding.
        self_attention: Add self-attention after the convolutions.
        text_channels: Width of the text vectors, to add cross-attention; null for none.
        heads: Attention heads.
        groups: Groups of the norms.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        embedding: int,
        self_attention: bool,
        text_channels: int | None,
        heads: int,
        groups: int = 32,
    ) -> None:
        super().__init__()
        self.combine = FiLM(embedding, channels)
        self.norm_1, self.norm_2 = GroupNorm(channels, groups), GroupNorm(channels, groups)
        self.conv_1 = Conv(channels, channels, kernel_size, padding=kernel_size // 2)
        self.conv_2 = Conv(channels, channels, kernel_size, padding=kernel_size // 2)
        self.shortcut = Conv(channels, channels, 1)
        # A new block is the identity, so that the signal passes through all levels from the first step.
        nn.init.zeros_(self.conv_2.weight)
        nn.init.dirac_(self.shortcut.weight)
        assert self.shortcut.bias is not None
        nn.init.zeros_(self.shortcut.bias)
        self.self_attention = SelfAttention(channels, heads, groups) if self_attention else None
        self.cross_attention = (
            CrossAttention(channels, text_channels, heads, groups) if text_channels is not None else None
        )

    def forward(self, x: Tensor, embedding: Tensor, text: Tensor | None, mask: Tensor | None) -> Tensor:
        """Apply convolutions and attention.

        Args:
            x: ``(b, c, t)``.
            embedding: Embedding of the diffusion time, ``(b, width)``.
            text: Text vectors ``(b, n, d)``.
            mask: True where there is a token, ``(b, n)``.
        """
        x = self.combine(x, embedding)
        h = self.conv_1(self.norm_1(x, silu=True))
        h = self.conv_2(self.norm_2(h, silu=True))
        x = self.shortcut(x) + h
        if self.self_attention is not None:
            x = self.self_attention(x)
        if self.cross_attention is not None:
            x = self.cross_attention(x, text, mask)
        return x


def _split(x: Tensor, heads: int) -> Tensor:
    """``(b, heads * width, t)`` to ``(b, heads, t, width)``."""
    b, c, t = x.shape
    return x.view(b, heads, c // heads, t).transpose(2, 3)


def _merge(x: Tensor) -> Tensor:
    """``(b, heads, t, width)`` to ``(b, heads * width, t)``."""
    b, heads, t, width = x.shape
    return x.transpose(1, 2).reshape(b, t, heads * width).transpose(1, 2)
