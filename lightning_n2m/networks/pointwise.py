"""What happens between the convolutions: FiLM, normalisation and activation of ``(b, c, t)``.

Sequences lie in channels-last memory, where the convolutions are fastest and where PyTorch's own
GroupNorm is slowest. These layers are bound by memory, so what counts is how often they pass over
a sequence: the statistics of a norm are joined with its gain into one scale and one shift per
sample and channel, and the backward pass recomputes what is cheaper to compute than to keep.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHUNK = 64


class _ScaleShift(torch.autograd.Function):
    """``x * scale + shift``, with SiLU on top if asked; ``(b, c, t)``, ``(b, c, 1)``, ``(b, c, 1)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, silu: bool) -> Tensor:
        scale, shift = scale.to(x.dtype), shift.to(x.dtype)
        ctx.save_for_backward(x, scale, shift)
        ctx.silu = silu
        y = torch.addcmul(shift, x, scale)
        return F.silu(y, inplace=True) if silu else y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        x, scale, shift = ctx.saved_tensors
        if ctx.silu:
            grad = torch.ops.aten.silu_backward(grad, torch.addcmul(shift, x, scale))
        return grad * scale, _sum_over_time(grad * x), _sum_over_time(grad), None


class _GroupNorm(torch.autograd.Function):
    """GroupNorm of ``(b, c, t)``, with SiLU on top if asked, in as few operations as can be."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool
    ) -> Tensor:
        b, c, t = x.shape
        ctx.count = c // groups * t
        mean = _sum_over_time(x).view(b, groups, -1).sum(-1, keepdim=True) / ctx.count
        square = _sum_over_time(x * x).view(b, groups, -1).sum(-1, keepdim=True) / ctx.count
        inverse = (square - mean * mean).clamp_(min=0).add_(eps).rsqrt_()
        scale = inverse * weight.view(groups, -1)
        shift = torch.addcmul(bias.view(groups, -1), mean, scale, value=-1).view(b, c, 1).to(x.dtype)
        scale = scale.view(b, c, 1).to(x.dtype)
        ctx.silu = silu
        ctx.save_for_backward(x, weight, mean, inverse, scale, shift)
        y = torch.addcmul(shift, x, scale)
        return F.silu(y, inplace=True) if silu else y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:  # type: ignore[override]
        x, weight, mean, inverse, scale, shift = ctx.saved_tensors
        if ctx.silu:
            grad = torch.ops.aten.silu_backward(grad, torch.addcmul(shift, x, scale))
        b, groups, _ = mean.shape
        total = _sum_over_time(grad).view(b, groups, -1)
        # Gradient of the weight, sample by sample: the sum of grad times what was normalised.
        product = (_sum_over_time(grad * x).view(b, groups, -1) - mean * total) * inverse
        rows = weight.view(groups, -1)
        slope = (rows * product).sum(-1, keepdim=True) * inverse * inverse / -ctx.count
        offset = (rows * total).sum(-1, keepdim=True) * inverse / -ctx.count - slope * mean
        slope, offset = (v.expand_as(total).reshape_as(scale).to(x.dtype) for v in (slope, offset))
        inner = torch.addcmul(offset, x, slope).addcmul_(grad, scale)
        return inner, product.sum(0).view_as(weight), total.sum(0).view_as(weight), None, None, None


def _sum_over_time(x: Tensor) -> Tensor:
    """``(b, c, t)`` to ``(b, c, 1)`` in float32.

    A sum of 16-bit numbers is rounded to 16 bits at its end, so short sums are taken first: their
    errors cancel out in the long one.
    """
    rows = x.transpose(1, 2)  # (b, t, c): contiguous, and several times as fast to reduce
    if x.dtype.itemsize == 2:
        whole = x.shape[-1] - x.shape[-1] % _CHUNK
        chunks = rows[:, :whole].unflatten(1, (-1, _CHUNK)).sum(2)
        rows = torch.cat([chunks, rows[:, whole:]], dim=1) if whole < x.shape[-1] else chunks
        return rows.sum(1, dtype=torch.float32)[..., None]
    return rows.sum(1)[..., None]


def scale_shift(x: Tensor, scale: Tensor, shift: Tensor, silu: bool = False) -> Tensor:
    """``x * scale + shift`` in the precision of x, and SiLU of it if asked.

    Args:
        x: ``(b, c, t)``.
        scale: ``(b, c, 1)``.
        shift: ``(b, c, 1)``.
        silu: Whether the activation follows.
    """
    return _ScaleShift.apply(x, scale, shift, silu)  # type: ignore[no-any-return, no-untyped-call]


class GroupNorm(nn.GroupNorm):
    """GroupNorm of ``(b, c, t)`` over time and the channels of a group, with SiLU on top if asked.

    Args:
        channels: Channels of the sequence.
        groups: Number of groups, or the largest divisor of the channels below; the paper does not
            give it.
    """

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__(next(g for g in range(min(groups, channels), 0, -1) if channels % g == 0), channels)

    def forward(self, x: Tensor, silu: bool = False) -> Tensor:
        """``(b, c, t)`` to the same."""
        return _GroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps, silu)  # type: ignore[no-any-return, no-untyped-call]


class FiLM(nn.Module):
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

    def forward(self, x: Tensor, embedding: Tensor, silu: bool = False) -> Tensor:
        """``(b, c, t)`` and ``(b, width)`` to ``(b, c, t)``, with SiLU on top if asked."""
        scale, shift = self.linear(embedding)[..., None].chunk(2, dim=1)
        return scale_shift(x, 1 + scale, shift, silu)
