"""The parts of the U-Net: figures 1 and 5 of the paper. Sequences are ``(b, c, t)``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.networks.embedding import rotate


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm of 32 groups or the largest divisor below; the paper does not give the number."""
    groups = next(g for g in range(min(32, channels), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


class CombineEmbedding(nn.Module):
    """Scale and bias per channel from an embedding (FiLM), ``CombineEmb`` in figure 5.

    Args:
        width: Width of the embedding.
        channels: Channels of the sequence.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``(b, c, t)`` and ``(b, width)`` to ``(b, c, t)``."""
        scale, bias = self.linear(embedding)[..., None].chunk(2, dim=1)
        return torch.addcmul(bias, x, 1 + scale)


class ResidualMlp(nn.Module):
    """The MLP after an attention layer: hidden width twice the channels (appendix B)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.rise = nn.Conv1d(channels, 2 * channels, 1)
        self.fall = nn.Conv1d(2 * channels, channels, 1)
        nn.init.zeros_(self.fall.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, t)`` to ``(b, c, t)``."""
        return x + self.fall(F.silu(self.rise(self.norm(x))))


class SelfAttention(nn.Module):
    """Self-attention over time with its residual MLP."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        self.mlp = ResidualMlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, t)`` to ``(b, c, t)``."""
        q, k, v = (_split(y, self.heads) for y in self.qkv(self.norm(x)).chunk(3, dim=1))
        attended = F.scaled_dot_product_attention(rotate(q), rotate(k), v)
        return self.mlp(x + self.out(_merge(attended)))


class CrossAttention(nn.Module):
    """Cross-attention to text vectors with its residual MLP.

    Where a sample has no token at all, the output of the layer is exactly zero: that is the null
    text of section 3.4.
    """

    def __init__(self, channels: int, text_channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.text_norm = nn.LayerNorm(text_channels)
        self.q = nn.Conv1d(channels, channels, 1, bias=False)
        self.kv = nn.Linear(text_channels, 2 * channels, bias=False)
        self.out = nn.Conv1d(channels, channels, 1)
        self.mlp = ResidualMlp(channels)

    def forward(self, x: Tensor, text: Tensor | None, mask: Tensor | None) -> Tensor:
        """``(b, c, t)``, ``(b, n, d)`` and ``(b, n)`` to ``(b, c, t)``."""
        if text is None or mask is None:
            return self.mlp(x)
        present = mask.any(dim=1)
        # A softmax over nothing is NaN: rows without text look at all of it and are then zeroed.
        visible = (mask | ~present[:, None])[:, None, None, :]
        q = _split(self.q(self.norm(x)), self.heads)
        k, v = (_split(y.transpose(1, 2), self.heads) for y in self.kv(self.text_norm(text)).chunk(2, dim=-1))
        attended = self.out(_merge(F.scaled_dot_product_attention(q, k, v, attn_mask=visible)))
        return self.mlp(x + attended * present[:, None, None])


class Block(nn.Module):
    """Convolution block of figure 5, with optional attention.

    The time embedding enters before the branches part, so that it reaches the shortcut too.

    Args:
        channels: Width, the same in and out.
        kernel_size: Kernel of the two convolutions.
        embedding: Width of the time embedding.
        self_attention: Whether self-attention follows.
        text_channels: Width of the text vectors if cross-attention follows, else none.
        heads: Attention heads.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        embedding: int,
        self_attention: bool,
        text_channels: int | None,
        heads: int,
    ) -> None:
        super().__init__()
        self.combine = CombineEmbedding(embedding, channels)
        self.norm_1, self.norm_2 = group_norm(channels), group_norm(channels)
        self.conv_1 = nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2)
        self.conv_2 = nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2)
        self.shortcut = nn.Conv1d(channels, channels, 1)
        # A block begins as the identity, so that the depth of the U does not drown the signal.
        nn.init.zeros_(self.conv_2.weight)
        nn.init.dirac_(self.shortcut.weight)
        assert self.shortcut.bias is not None
        nn.init.zeros_(self.shortcut.bias)
        self.self_attention = SelfAttention(channels, heads) if self_attention else None
        self.cross_attention = (
            CrossAttention(channels, text_channels, heads) if text_channels is not None else None
        )

    def forward(self, x: Tensor, embedding: Tensor, text: Tensor | None, mask: Tensor | None) -> Tensor:
        """``(b, c, t)``, ``(b, width)`` and the text to ``(b, c, t)``."""
        x = self.combine(x, embedding)
        h = self.conv_1(F.silu(self.norm_1(x)))
        h = self.conv_2(F.silu(self.norm_2(h)))
        x = self.shortcut(x) + h
        if self.self_attention is not None:
            x = self.self_attention(x)
        if self.cross_attention is not None:
            x = self.cross_attention(x, text, mask)
        return x


class Down(nn.Conv1d):
    """Strided convolution: ``(b, c_in, t)`` to ``(b, c_out, t / stride)`` for t that stride divides."""

    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int) -> None:
        # Never a kernel below the stride: samples between the taps would be thrown away unseen.
        kernel = max(kernel_size, stride)
        super().__init__(c_in, c_out, kernel, stride, padding=(kernel - stride + 1) // 2)


class Up(nn.ConvTranspose1d):
    """Transposed strided convolution: ``(b, c_in, t)`` to ``(b, c_out, t * stride)``."""

    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int) -> None:
        kernel = max(kernel_size, stride)
        padding = (kernel - stride + 1) // 2
        super().__init__(
            c_in, c_out, kernel, stride, padding=padding, output_padding=stride + 2 * padding - kernel
        )


def _split(x: Tensor, heads: int) -> Tensor:
    """``(b, heads * width, t)`` to ``(b, heads, t, width)``."""
    b, c, t = x.shape
    return x.view(b, heads, c // heads, t).transpose(2, 3)


def _merge(x: Tensor) -> Tensor:
    """``(b, heads, t, width)`` to ``(b, heads * width, t)``."""
    b, heads, t, width = x.shape
    return x.transpose(2, 3).reshape(b, heads * width, t)
