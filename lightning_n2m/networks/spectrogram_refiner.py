"""A last look at a spectrogram as a picture: what holds for one channel holds for its neighbours.

To the U-Net the 80 mel channels are 80 different things, and each must learn by itself that a tone is a
line. A few convolutions over channels and time, the same everywhere, learn it once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.networks.convolution import Conv2d
from lightning_n2m.networks.pointwise import FiLM

PACK = (2, 4)  # channels and frames that one cell of the picture holds
DILATIONS = (1, 2, 4, 8, 16, 1)  # over time: together 1.3 s on either side at 100 frames a second


class SpectrogramRefiner(nn.Module):
    """Corrects the output of a U-Net by convolutions of 3 x 3, ever wider in time, over a picture of it.

    Deviation: the paper's spectrogram generator is its 1D U-Net alone. This begins as no correction at all.

    Args:
        channels: Channels of x_t and of the output, an even number.
        width: Width of the convolutions.
        embedding: Width of the time embedding.
    """

    def __init__(self, channels: int, width: int, embedding: int) -> None:
        super().__init__()
        cell = PACK[0] * PACK[1]
        self.entry = Conv2d(2 * cell, width, 1)
        self.rows = nn.Parameter(torch.zeros(width, channels // PACK[0], 1))
        self.combine = nn.ModuleList(FiLM(embedding, width) for _ in DILATIONS)
        self.convolutions = nn.ModuleList(
            Conv2d(width, width, 3, padding=(1, dilation), dilation=(1, dilation)) for dilation in DILATIONS
        )
        self.exit = Conv2d(width, cell, 1)
        nn.init.zeros_(self.exit.weight)
        assert self.exit.bias is not None
        nn.init.zeros_(self.exit.bias)

    def forward(self, x_t: Tensor, output: Tensor, embedding: Tensor) -> Tensor:
        """The output ``(b, channels, t)``, corrected, for x_t alike and the time embedding ``(b, width)``."""
        length = output.shape[-1]
        pictures = (_pack(F.pad(y, (0, -length % PACK[1]))) for y in (x_t, output))
        h = self.entry(torch.cat(list(pictures), dim=1))
        h = h + self.rows.to(h.dtype)  # in 32 bits it would take the rest of the picture along
        for combine, convolution in zip(self.combine, self.convolutions, strict=True):
            h = h + convolution(combine(h.flatten(2), embedding, silu=True).view_as(h))
        return output + _unpack(self.exit(F.silu(h)))[..., :length]


def _pack(x: Tensor) -> Tensor:
    """``(b, c, t)`` to ``(b, cell, c / 2, t / 4)``."""
    b, c, t = x.shape
    cells = x.reshape(b, c // PACK[0], PACK[0], t // PACK[1], PACK[1])
    return cells.permute(0, 2, 4, 1, 3).flatten(1, 2).contiguous(memory_format=torch.channels_last)


def _unpack(x: Tensor) -> Tensor:
    """The reverse of `_pack`."""
    b, _, rows, columns = x.shape
    cells = x.unflatten(1, PACK).permute(0, 3, 1, 4, 2)
    return cells.reshape(b, rows * PACK[0], columns * PACK[1])
