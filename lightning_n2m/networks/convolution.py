"""Convolutions over time of ``(b, c, t)`` in channels-last memory.

They run as 2-D convolutions of height one: only those have kernels for channels-last memory. On a
processor the 1-D ones reorder every sequence on the way in and out, which takes longer than the sums.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def channels_last(x: Tensor) -> Tensor:
    """The same ``(b, c, t)`` with the channels of a time step side by side in memory."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


class Conv(nn.Conv1d):
    """`torch.nn.Conv1d`, parameters and all, in channels-last memory."""

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, t)`` to ``(b, c_out, t / stride)``."""
        padding = int(self.padding[0])
        y = F.conv2d(x.unsqueeze(2), self.weight.unsqueeze(2), self.bias, (1, *self.stride), (0, padding))
        return y.squeeze(2)


class Down(Conv):
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

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """``(b, c_in, t)`` to ``(b, c_out, t * stride)``."""
        y = F.conv_transpose2d(
            x.unsqueeze(2),
            self.weight.unsqueeze(2),
            self.bias,
            (1, *self.stride),
            (0, int(self.padding[0])),
            (0, int(self.output_padding[0])),
        )
        return y.squeeze(2)
