"""Writes a U-Net as ONNX: the whole network with its weights, for any batch and length."""

from __future__ import annotations

import copy
import io
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.convolution import Conv, Entry
from lightning_n2m.networks.norm import GroupNorm
from lightning_n2m.networks.onnx_network import OUTPUT, absent_inputs, free_axes
from lightning_n2m.networks.unet import UNet1d

OPSET = 18
# Sizes of the traced example. Each differs from all others, so that no size is taken for another one.
_BATCH, _TOKENS = 3, 5


def to_onnx(network: UNet1d) -> bytes:
    """A network in the ONNX format, in 32 bits.

    The inputs are ``x``, ``t`` and the fields of `Conditions` that the network takes, by name. Batch, length
    and number of tokens are free. The exporter is PyTorch's older one, by tracing: the newer one takes
    minutes for a network of this depth.

    Args:
        network: The network; it is not changed.
    """
    network = _with_standard_layers(network)
    length = 3 * network.total_stride + 1  # padded inside, so that the padding is part of the graph
    inputs = {"x": torch.zeros(_BATCH, network.channels, length), "t": torch.full((_BATCH,), 0.5)}
    inputs |= absent_inputs(network, _BATCH, length, _TOKENS)
    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # Deprecation of this exporter, and notes on Python numbers, which here depend on the config only.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _ByName(network, list(inputs)),
            tuple(inputs.values()),
            file,  # type: ignore[arg-type]  # this exporter writes into memory too
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_axes={name: free_axes(name, value) for name, value in inputs.items()}
            | {OUTPUT: free_axes(OUTPUT, inputs["x"])},
        )
    return file.getvalue()


class _ByName(nn.Module):
    """A network whose conditions are positional arguments, which the exporter needs."""

    def __init__(self, network: UNet1d, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *inputs: Tensor) -> Tensor:
        fields = dict(zip(self.names, inputs, strict=True))
        x, t = fields.pop("x"), fields.pop("t")
        output: Tensor = self.network(x, t, Conditions(**fields))
        return output


def _with_standard_layers(network: UNet1d) -> UNet1d:
    """A copy in which layers written for channels-last memory are those that ONNX has an operator for."""
    network = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    for module in list(network.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, Entry):
                conv = Conv(layer.in_channels, layer.out_channels, layer.kernel_size[0], padding=1)
                conv.load_state_dict(layer.state_dict())
                setattr(module, name, conv.requires_grad_(False))
            elif isinstance(layer, GroupNorm):
                norm = _StandardGroupNorm(layer.num_groups, layer.num_channels, layer.eps)
                norm.load_state_dict(layer.state_dict())
                setattr(module, name, norm.requires_grad_(False))
    return network


class _StandardGroupNorm(nn.GroupNorm):
    """`lightning_n2m.networks.norm.GroupNorm` by PyTorch's own function."""

    def forward(self, x: Tensor, silu: bool = False) -> Tensor:
        y = super().forward(x)
        return F.silu(y) if silu else y
