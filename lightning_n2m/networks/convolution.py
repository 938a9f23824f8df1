"""Convolutions over time of ``(b, c, t)`` in channels-last memory.

They run as 2-D convolutions of height one: only those have kernels for channels-last memory. On a
processor the 1-D ones reorder every sequence on the way in and out, which takes longer than the sums.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Conv1d):
    """`torch.nn.Conv1d`, parameters and all, in channels-last memory."""

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, t)`` to ``(b, c_out, t / stride)``."""
        padding = int(self.padding[0])
        y = F.conv2d(x.unsqueeze(2), self.weight.unsqueeze(2), self.bias, (1, *self.stride), (0, padding))
        return y.squeeze(2)


class Entry(Conv):
    """The same for the few channels of a signal: one product of all windows with the kernel.

    A convolution leaves the order in memory of so few channels open, picks the slower one, and is itself
    the slowest of the network.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, t)`` to ``(b, c_out, t)`` in channels-last memory."""
        padding = int(self.padding[0])
        windows = F.pad(x, (padding, padding)).unfold(2, self.kernel_size[0], 1)  # (b, c_in, t, kernel)
        return F.linear(windows.transpose(1, 2).flatten(2), self.weight.flatten(1), self.bias).transpose(1, 2)


class Down(Conv):
    """Strided convolution: ``(b, c_in, t)`` to ``(b, c_out, t / stride)`` for t that stride divides."""

    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int) -> None:
        # Never a kernel below the stride: samples between the taps would be thrown away unseen.
        kernel = max(kernel_size, stride)
        super().__init__(c_in, c_out, kernel, stride, padding=(kernel - stride + 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, t)`` to ``(b, c_out, t / stride)``."""
        if self.kernel_size != self.stride:
            return super().forward(x)
        # Windows that do not overlap are rows of memory: a product, which is faster, with the kernel.
        rows = x.transpose(1, 2).reshape(len(x), -1, self.stride[0] * self.in_channels)
        return F.linear(rows, self.weight.transpose(1, 2).flatten(1), self.bias).transpose(1, 2)


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
        if self.kernel_size == self.stride:
            bias = None if self.bias is None else self.bias.repeat(self.stride[0])
            rows = F.linear(x.transpose(1, 2), self.weight.permute(2, 1, 0).flatten(0, 1), bias)
            return rows.view(len(x), -1, self.out_channels).transpose(1, 2)
        y = F.conv_transpose2d(
            x.unsqueeze(2),
            self.weight.unsqueeze(2),
            self.bias,
            (1, *self.stride),
            (0, int(self.padding[0])),
            (0, int(self.output_padding[0])),
        )
        return y.squeeze(2)
