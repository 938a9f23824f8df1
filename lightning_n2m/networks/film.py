"""Feature-wise linear modulation (FiLM, Perez et al. 2018): ``CombineEmb`` in figure 5 of the paper."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        """Modulate a sequence, in its own precision.

        Args:
            x: ``(b, c, t)``.
            embedding: ``(b, width)``.
            silu: Apply SiLU to the result.
        """
        scale, shift = self.linear(embedding)[..., None].chunk(2, dim=1)
        # One pass over the sequence; a float32 scale would raise a 16-bit sequence to float32.
        y = torch.addcmul(shift.to(x.dtype), x, (1 + scale).to(x.dtype))
        return F.silu(y) if silu else y
