"""Convolutions over time of ``(b, c, t)`` in channels-last memory.

They run as 2-D convolutions of height one: only those have kernels for channels-last memory. On a
processor the 1-D ones reorder every sequence on the way in and out, which takes longer than the sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.errors import InputError

ResampleKernel = Literal["kernel_size", "stride_multiple"]


@dataclass(frozen=True)
class Geometry:
    """Stride, padding (rows, time), dilation in time, and the output padding of a transposed convolution."""

    stride: int
    padding: tuple[int, int]
    dilation: int = 1
    rest: int = 0


class _Convolve(torch.autograd.Function):
    """A convolution, or its transpose, whose weight learns by products of windows.

    Without AVX-512 the processor's library is far slower at a weight's gradient than at the convolution
    itself; the same sums as products with windows take little more than it.
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
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            arguments = _arguments(ctx.geometry, ctx.transposed)
            to_x = torch.ops.aten.convolution_backward(
                grad, x, weight, None, *arguments, (True, False, False)
            )[0]
        if ctx.needs_input_grad[1]:
            few, many = (x, grad) if ctx.transposed else (grad, x)
            to_weight = _correlate(few, many, (weight.shape[2], weight.shape[3]), ctx.geometry)
        if ctx.needs_input_grad[2]:
            to_bias = grad.sum(dim=(0, 2, 3))
        return to_x, to_weight, to_bias, None, None


def _arguments(g: Geometry, transposed: bool) -> tuple[Any, ...]:
    return (1, g.stride), g.padding, (1, g.dilation), transposed, (0, g.rest), 1


def _correlate(few: Tensor, many: Tensor, kernel: tuple[int, int], g: Geometry) -> Tensor:
    """``(b, i, h, t)`` times windows of ``(b, j, h, t * stride)``, summed up: ``(i, j, *kernel)``."""
    (b, i, h, t), j, (high, wide) = few.shape, many.shape[1], kernel
    after = (t - 1) * g.stride + (wide - 1) * g.dilation + 1 - g.padding[1] - many.shape[-1]
    cells = F.pad(many.permute(0, 2, 3, 1), (0, 0, g.padding[1], after, g.padding[0], g.padding[0]))
    _, row, cell, _ = cells.stride()
    rows = few.permute(0, 2, 1, 3).reshape(b * h, i, t)
    found = []
    for k in range(high):
        part = cells[:, k : k + h]
        strides = (part.stride(0), row, g.stride * cell, g.dilation * cell, 1)
        windows = part.as_strided((b, h, t, wide, j), strides, part.storage_offset())
        found.append(torch.bmm(rows, windows.reshape(b * h, t, wide * j)).sum(0))
    return torch.stack(found, dim=1).view(i, high, wide, j).permute(0, 3, 1, 2)


def uses_im2col_gradient(x: Tensor) -> bool:
    """Whether a weight's gradient is taken by products: in 32 bits on a processor without AVX-512."""
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
        return F.conv_transpose2d(x, weight, bias, *strides, (0, geometry.rest))
    return F.conv2d(x, weight, bias, *strides, (1, geometry.dilation))


class Conv(nn.Conv1d):
    """`torch.nn.Conv1d`, parameters and all, in channels-last memory."""

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, t)`` to ``(b, c_out, t / stride)``."""
        geometry = Geometry(self.stride[0], (0, int(self.padding[0])))
        return convolve(x.unsqueeze(2), self.weight.unsqueeze(2), self.bias, geometry).squeeze(2)


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` over channels and time of a picture ``(b, c, h, t)``."""

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, h, t)`` to ``(b, c_out, h, t)``."""
        geometry = Geometry(1, (int(self.padding[0]), int(self.padding[1])), self.dilation[1])
        return convolve(x, self.weight, self.bias, geometry)


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


def ceil_div(a: int, b: int) -> int:
    """``a / b``, rounded up."""
    return -(-a // b)


def resampling_kernel(kernel_size: int, stride: int, rule: ResampleKernel) -> int:
    """Kernel size of a strided layer.

    Args:
        kernel_size: Kernel of the blocks.
        stride: Stride of the layer.
        rule: ``kernel_size``, the same as the blocks, but never below the stride; or ``stride_multiple``,
            the next multiple of the stride, two strides at least.
    """
    if rule == "kernel_size":
        # Never a kernel below the stride: samples between the taps would be skipped.
        return max(kernel_size, stride)
    return stride * max(2, ceil_div(kernel_size, stride))


def resampling_padding(kernel: int, stride: int) -> int:
    """Zeros before the first sample of a strided layer, which centre its kernel on the stride."""
    return (kernel - stride + 1) // 2


def equalise_phases(weight: Tensor, stride: int) -> Tensor:
    """Remove what a transposed convolution would make of a constant other than a constant.

    A transposed convolution computes the samples of each phase (time modulo stride) with its own taps
    ``k = phase, phase + stride, ...``. Where their sums differ between the phases, a constant input
    becomes a periodic output: tones at the multiples of rate / stride, the checkerboard of Odena et al.
    2016. The difference is spread evenly over the taps of a phase and subtracted.

    Args:
        weight: ``(c_in, c_out, kernel)``, with a kernel that is a multiple of the stride.
        stride: Stride of the layer.

    Returns:
        The weight with equal sums of all phases, of the same shape.
    """
    taps = weight.unflatten(-1, (-1, stride))  # (c_in, c_out, taps of a phase, phase)
    mean_of_phase = taps.mean(dim=2, keepdim=True)
    return (taps - (mean_of_phase - mean_of_phase.mean(dim=3, keepdim=True))).flatten(2)


class Down(Conv):
    """Strided convolution: ``(b, c_in, t)`` to ``(b, c_out, t / stride)`` for t that stride divides.

    Args:
        c_in: Channels of the input.
        c_out: Channels of the output.
        kernel_size: Kernel of the blocks.
        stride: Stride of the layer.
        rule: See `resampling_kernel`.
    """

    def __init__(
        self, c_in: int, c_out: int, kernel_size: int, stride: int, rule: ResampleKernel = "kernel_size"
    ) -> None:
        kernel = resampling_kernel(kernel_size, stride, rule)
        super().__init__(c_in, c_out, kernel, stride, padding=resampling_padding(kernel, stride))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, t)`` to ``(b, c_out, t / stride)``."""
        if self.kernel_size != self.stride:
            return super().forward(x)
        # Windows that do not overlap are rows of memory: a matrix product with the kernel is faster.
        rows = x.transpose(1, 2).reshape(len(x), -1, self.stride[0] * self.in_channels)
        return F.linear(rows, self.weight.transpose(1, 2).flatten(1), self.bias).transpose(1, 2)


class Up(nn.ConvTranspose1d):
    """Transposed strided convolution: ``(b, c_in, t)`` to ``(b, c_out, t * stride)``.

    Args:
        c_in: Channels of the input.
        c_out: Channels of the output.
        kernel_size: Kernel of the blocks.
        stride: Stride of the layer.
        rule: See `resampling_kernel`.
        equal_phases: Use the weight with equal sums of all phases, see `equalise_phases`.

    Raises:
        InputError: if phases shall be equal with a kernel that is not a multiple of the stride.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int,
        stride: int,
        rule: ResampleKernel = "kernel_size",
        equal_phases: bool = False,
    ) -> None:
        kernel = resampling_kernel(kernel_size, stride, rule)
        if equal_phases and (kernel % stride or kernel == stride > 1):
            raise InputError(
                f"equal_phases needs kernels of at least two strides that are multiples of the stride, not "
                f"{kernel} over {stride}; set resample_kernel to stride_multiple."
            )
        padding = resampling_padding(kernel, stride)
        super().__init__(
            c_in, c_out, kernel, stride, padding=padding, output_padding=stride + 2 * padding - kernel
        )
        self.equal_phases = equal_phases

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """``(b, c_in, t)`` to ``(b, c_out, t * stride)``."""
        stride = self.stride[0]
        weight = equalise_phases(self.weight, stride) if self.equal_phases else self.weight
        if self.kernel_size == self.stride:
            bias = None if self.bias is None else self.bias.repeat(stride)
            rows = F.linear(x.transpose(1, 2), weight.permute(2, 1, 0).flatten(0, 1), bias)
            return rows.view(len(x), -1, self.out_channels).transpose(1, 2)
        geometry = Geometry(stride, (0, int(self.padding[0])), rest=int(self.output_padding[0]))
        return convolve(x.unsqueeze(2), weight.unsqueeze(2), self.bias, geometry, True).squeeze(2)


def widen_kernels(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Pad the kernels of strided layers with zeros to those of a network: the same function of the input.

    Args:
        weights: State dict of a network whose kernels follow the rule ``kernel_size``.
        network: A network of the same widths and strides whose kernels are as large or larger.

    Returns:
        A new state dict; weights that need no padding, or that the network lacks, are left as they are.
    """
    widened = dict(weights)
    for name, layer in network.named_modules():
        weight = widened.get(f"{name}.weight")
        if not isinstance(layer, (Down, Up)) or weight is None or weight.dim() != 3:
            continue
        missing = layer.kernel_size[0] - weight.shape[-1]
        if missing > 0:
            # Both kernels begin as many samples before the stride as their padding says.
            before = int(layer.padding[0]) - resampling_padding(weight.shape[-1], layer.stride[0])
            widened[f"{name}.weight"] = F.pad(weight, (before, missing - before))
    return widened
