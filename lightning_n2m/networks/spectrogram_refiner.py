"""2-D convolutions over mel channels and time, after the 1D U-Net.

The U-Net has its own weights for each of the 80 mel channels. Convolutions that share their weights over
the channels learn from all of them that a tone is a horizontal line in the spectrogram.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.networks.convolution import Conv2d
from lightning_n2m.networks.film import FiLM

PACK = (2, 4)  # mel channels and frames of one cell of the spectrogram image
DILATIONS = (1, 2, 4, 8, 16, 1)  # in time; the receptive field is 1.3 s on either side at 100 frames/s


class SpectrogramRefiner(nn.Module):
    """Corrects the output of a U-Net by 3 x 3 convolutions over the spectrogram image, dilated in time.

    Deviation: the paper's spectrogram generator is the 1D U-Net without a refiner. A new refiner corrects
    nothing.

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
        """Correct an output of the U-Net.

        Args:
            x_t: Noised spectrogram, ``(b, channels, t)``.
            output: Output of the U-Net, ``(b, channels, t)``.
            embedding: Embedding of the diffusion time, ``(b, width)``.

        Returns:
            ``(b, channels, t)``.
        """
        length = output.shape[-1]
        images = [_pack(F.pad(y, (0, -length % PACK[1]))) for y in (x_t, output)]
        h = self.entry(torch.cat(images, dim=1))
        # In the precision of h: a float32 summand would raise all that follows to float32.
        h = h + self.rows.to(h.dtype)
        for combine, convolution in zip(self.combine, self.convolutions, strict=True):
            h = h + convolution(combine(h.flatten(2), embedding, silu=True).view_as(h))
        return output + _unpack(self.exit(F.silu(h)))[..., :length]


def _pack(x: Tensor) -> Tensor:
    """``(b, c, t)`` to ``(b, cell, c / 2, t / 4)``."""
    b, c, t = x.shape
    cells = x.reshape(b, c // PACK[0], PACK[0], t // PACK[1], PACK[1])
    return cells.permute(0, 2, 4, 1, 3).flatten(1, 2).contiguous(memory_format=torch.channels_last)


def _unpack(x: Tensor) -> Tensor:
    """``(b, cell, c / 2, t / 4)`` to ``(b, c, t)``: the inverse of `_pack`."""
    b, _, rows, columns = x.shape
    cells = x.unflatten(1, PACK).permute(0, 3, 1, 4, 2)
    return cells.reshape(b, rows * PACK[0], columns * PACK[1])
