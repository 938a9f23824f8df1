"""Group normalisation of ``(b, c, t)`` in channels-last memory.

PyTorch's GroupNorm is slow in this memory format, in which the convolutions are fast. The layer is bound by
memory, so its time depends on how often it passes over a sequence: mean, variance, weight and bias become
one scale and one shift per sample and channel, and the backward pass computes the activation a second time
instead of storing it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHUNK = 64  # time steps that are summed in 16 bits


class _GroupNorm(torch.autograd.Function):
    """GroupNorm of ``(b, c, t)``, optionally with SiLU, in few passes over memory."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool
    ) -> Tensor:
        b, c, t = x.shape
        ctx.count = c // groups * t
        # Statistics of each sample and group, in float32: (b, groups, 1).
        mean = _sum_over_time(x).view(b, groups, -1).sum(-1, keepdim=True) / ctx.count
        square = _sum_over_time(x * x).view(b, groups, -1).sum(-1, keepdim=True) / ctx.count
        inverse = (square - mean * mean).clamp_(min=0).add_(eps).rsqrt_()
        # (x - mean) * inverse * weight + bias as x * scale + shift, with scale and shift (b, c, 1).
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
        # Gradients of bias and weight, sample by sample: sums of grad, and of grad times normalised x.
        grad_bias = _sum_over_time(grad).view(b, groups, -1)
        grad_weight = (_sum_over_time(grad * x).view(b, groups, -1) - mean * grad_bias) * inverse
        # The gradient of x is grad * scale + x * slope + offset: the last two terms come from the
        # dependence of variance and mean on x.
        rows = weight.view(groups, -1)
        slope = (rows * grad_weight).sum(-1, keepdim=True) * inverse * inverse / -ctx.count
        offset = (rows * grad_bias).sum(-1, keepdim=True) * inverse / -ctx.count - slope * mean
        slope, offset = (v.expand_as(grad_bias).reshape_as(scale).to(x.dtype) for v in (slope, offset))
        grad_x = torch.addcmul(offset, x, slope).addcmul_(grad, scale)
        return grad_x, grad_weight.sum(0).view_as(weight), grad_bias.sum(0).view_as(weight), None, None, None


def _sum_over_time(x: Tensor) -> Tensor:
    """Sum over time, ``(b, c, t)`` to ``(b, c, 1)``, in float32.

    PyTorch rounds a sum of 16-bit numbers to 16 bits at its end. Short sums are computed first, so that
    their rounding errors average out in the float32 sum over them.
    """
    rows = x.transpose(1, 2)  # (b, t, c): contiguous, and several times as fast to reduce
    if x.dtype.itemsize == 2:
        whole = x.shape[-1] - x.shape[-1] % _CHUNK
        chunks = rows[:, :whole].unflatten(1, (-1, _CHUNK)).sum(2)
        rows = torch.cat([chunks, rows[:, whole:]], dim=1) if whole < x.shape[-1] else chunks
        return rows.sum(1, dtype=torch.float32)[..., None]
    return rows.sum(1)[..., None]


class GroupNorm(nn.GroupNorm):
    """GroupNorm of ``(b, c, t)`` over time and the channels of a group.

    Args:
        channels: Channels of the sequence.
        groups: Largest number of groups; the largest divisor of ``channels`` up to it is used. The paper
            does not give it.
    """

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__(next(g for g in range(min(groups, channels), 0, -1) if channels % g == 0), channels)

    def forward(self, x: Tensor, silu: bool = False) -> Tensor:
        """Normalise.

        Args:
            x: ``(b, c, t)``.
            silu: Apply SiLU to the result.
        """
        return _GroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps, silu)  # type: ignore[no-any-return, no-untyped-call]
