"""Convolutions over time of ``(b, c, t)`` in channels-last memory.

They run as 2-D convolutions of height one, because only 2-D convolutions have kernels for channels-last
memory. On a CPU, 1-D convolutions reorder every input and output in memory, which takes longer than the
convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Geometry:
    """Geometry of a convolution.

    Args:
        stride: Stride in time.
        padding: Zeros on either side: rows, time.
        dilation: Dilation in time.
        output_padding: Steps that a transposed convolution adds at the end.
    """

    stride: int
    padding: tuple[int, int]
    dilation: int = 1
    output_padding: int = 0


class _Convolve(torch.autograd.Function):
    """A convolution, or its transpose, with the im2col gradient of the weight.

    Without AVX-512, oneDNN takes far longer for the gradient of a weight than for the convolution. The same
    sums as matrix products with windows of the input take about as long as the convolution.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.transposed = geometry, transposed
        return torch.convolution(x, weight, bias, *_arguments(geometry, transposed))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, weight) = grads, ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            arguments = _arguments(ctx.geometry, ctx.transposed)
            grad_x = torch.ops.aten.convolution_backward(
                grad, x, weight, None, *arguments, (True, False, False)
            )[0]
        if ctx.needs_input_grad[1]:
            coarse, fine = (x, grad) if ctx.transposed else (grad, x)
            grad_weight = _correlate(coarse, fine, (weight.shape[2], weight.shape[3]), ctx.geometry)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(dim=(0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None


def _arguments(g: Geometry, transposed: bool) -> tuple[Any, ...]:
    return (1, g.stride), g.padding, (1, g.dilation), transposed, (0, g.output_padding), 1


def _correlate(coarse: Tensor, fine: Tensor, kernel: tuple[int, int], g: Geometry) -> Tensor:
    """Gradient of a weight: products of a sequence with the windows of another one, summed over time.

    Args:
        coarse: The sequence at the lower rate, ``(b, i, h, t)``.
        fine: The sequence at the higher rate, ``(b, j, h, t * stride)``.
        kernel: Height and width of the weight.
        g: Geometry of the convolution from ``fine`` to ``coarse``.

    Returns:
        ``(i, j, *kernel)``.
    """
    b, i, h, t = coarse.shape
    j = fine.shape[1]
    high, wide = kernel
    # Zeros after the last sample, so that the last window is complete.
    after = (t - 1) * g.stride + (wide - 1) * g.dilation + 1 - g.padding[1] - fine.shape[-1]
    cells = F.pad(fine.permute(0, 2, 3, 1), (0, 0, g.padding[1], after, g.padding[0], g.padding[0]))
    _, row, cell, _ = cells.stride()
    rows = coarse.permute(0, 2, 1, 3).reshape(b * h, i, t)
    gradients = []
    for k in range(high):
        # Windows (b, h, t, wide, j) of row k of the kernel: a view, no copy.
        part = cells[:, k : k + h]
        strides = (part.stride(0), row, g.stride * cell, g.dilation * cell, 1)
        windows = part.as_strided((b, h, t, wide, j), strides, part.storage_offset())
        gradients.append(torch.bmm(rows, windows.reshape(b * h, t, wide * j)).sum(0))
    return torch.stack(gradients, dim=1).view(i, high, wide, j).permute(0, 3, 1, 2)


def uses_im2col_gradient(x: Tensor) -> bool:
    """Whether the im2col gradient is used: in float32 on a processor without AVX-512."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, transposed: bool = False
) -> Tensor:
    """Convolution, or transposed convolution, of ``(b, c_in, h, t)`` in channels-last memory."""
    if weight.shape[2:].numel() > 1 and uses_im2col_gradient(x):
        return _Convolve.apply(x, weight, bias, geometry, transposed)  # type: ignore[no-any-return, no-untyped-call]
    strides = (1, geometry.stride), geometry.padding
    if transposed:
        return F.conv_transpose2d(x, weight, bias, *strides, (0, geometry.output_padding))
    return F.conv2d(x, weight, bias, *strides, (1, geometry.dilation))


class Conv(nn.Conv1d):
    """`torch.nn.Conv1d` with the same parameters, in channels-last memory."""

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, t)`` to ``(b, c_out, t / stride)``."""
        geometry = Geometry(self.stride[0], (0, int(self.padding[0])))
        return convolve(x.unsqueeze(2), self.weight.unsqueeze(2), self.bias, geometry).squeeze(2)


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` over the rows and the time of a spectrogram image ``(b, c, h, t)``."""

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, h, t)`` to ``(b, c_out, h, t)``."""
        geometry = Geometry(1, (int(self.padding[0]), int(self.padding[1])), self.dilation[1])
        return convolve(x, self.weight, self.bias, geometry)


class Entry(Conv):
    """Convolution of an input of few channels, as one matrix product of all windows with the kernel.

    With few channels the memory format of the input is ambiguous. PyTorch then takes the slower
    convolution, which is the slowest layer of the network.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, t)`` to ``(b, c_out, t)`` in channels-last memory."""
        padding = int(self.padding[0])
        windows = F.pad(x, (padding, padding)).unfold(2, self.kernel_size[0], 1)  # (b, c_in, t, kernel)
        return F.linear(windows.transpose(1, 2).flatten(2), self.weight.flatten(1), self.bias).transpose(1, 2)
