"""Strided layers that change the rate of ``(b, c, t)``: down- and up-sampling by a whole number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.errors import InputError
from lightning_n2m.integers import ceil_div
from lightning_n2m.networks.convolution import Conv, Geometry, convolve

ResampleKernel = Literal["kernel_size", "stride_multiple"]


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
        rows = x.transpose(1, 2).reshape(x.shape[0], -1, self.stride[0] * self.in_channels)
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
        return self.raise_rate(x, self.weight, self.bias)

    def raise_rate(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Run the layer with another weight.

        Args:
            x: ``(b, c, t)``.
            weight: ``(c, c_out, kernel)``.
            bias: ``(c_out,)``, or none.

        Returns:
            ``(b, c_out, t * stride)``.
        """
        stride = self.stride[0]
        if self.equal_phases:
            weight = equalise_phases(weight, stride)
        if self.kernel_size == self.stride:
            repeated = None if bias is None else bias.repeat(stride)
            rows = F.linear(x.transpose(1, 2), weight.permute(2, 1, 0).flatten(0, 1), repeated)
            return rows.view(x.shape[0], -1, self.out_channels).transpose(1, 2)
        geometry = Geometry(stride, (0, int(self.padding[0])), output_padding=int(self.output_padding[0]))
        return convolve(x.unsqueeze(2), weight.unsqueeze(2), bias, geometry, True).squeeze(2)


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
