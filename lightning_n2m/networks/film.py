"""Feature-wise linear modulation (FiLM, Perez et al. 2018): ``CombineEmb`` in figure 5 of the paper."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.networks.norm import sum_over_time


class _ScaleShift(torch.autograd.Function):
    """``x * scale + shift``, optionally with SiLU; ``(b, c, t)``, ``(b, c, 1)``, ``(b, c, 1)``."""

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
            # The input of the activation is computed again, which is faster than to store it.
            grad = torch.ops.aten.silu_backward(grad, torch.addcmul(shift, x, scale))
        return grad * scale, sum_over_time(grad * x), sum_over_time(grad), None


def scale_shift(x: Tensor, scale: Tensor, shift: Tensor, silu: bool = False) -> Tensor:
    """``x * scale + shift`` in the precision of x.

    Args:
        x: ``(b, c, t)``.
        scale: ``(b, c, 1)``.
        shift: ``(b, c, 1)``.
        silu: Apply SiLU to the result.
    """
    return _ScaleShift.apply(x, scale, shift, silu)  # type: ignore[no-any-return, no-untyped-call]


class FiLM(nn.Module):
    """Scale and bias per channel, computed from an embedding by one fully connected layer.

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
        """Modulate a sequence.

        Args:
            x: ``(b, c, t)``.
            embedding: ``(b, width)``.
            silu: Apply SiLU to the result.
        """
        scale, shift = self.linear(embedding)[..., None].chunk(2, dim=1)
        return scale_shift(x, 1 + scale, shift, silu)
