"""The warning of FSDP2 about views that is not shown: what it warns of does not happen."""

from __future__ import annotations

import inspect
import re

import torch
from torch import Tensor, nn
from torch.distributed.fsdp._fully_shard import _fsdp_state

from lightning_n2m.cli.lightning_cli import _IGNORED_WARNINGS
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.unet import UNet1d
from lightning_n2m.stages.sharding import UNITS


def test_nothing_modifies_the_output_of_a_sharded_module_in_place() -> None:
    """A module's output may be a view; an in-place operation on it would skip gathering its parameters."""
    network = UNet1d(
        channels=1,
        base_channels=8,
        multipliers=[1, 2],
        strides=[4, 2],
        blocks=[1, 1],
        kernel_size=7,
        self_attention=[False, True],
        cross_attention=[False, False],
    )
    outputs: list[tuple[Tensor, int]] = []

    def keep(module: nn.Module, args: object, output: Tensor) -> None:
        outputs.append((output, output._version))

    modules = [network, *(module for module in network.modules() if isinstance(module, UNITS))]
    for module in modules:
        module.register_forward_hook(keep)
    result = network(torch.randn(2, 1, 66), torch.tensor([0.3, 0.7]), Conditions())
    (result - 1).square().mean().backward()
    assert len(outputs) == len(modules) > 5
    assert all(output._version == version for output, version in outputs)


def test_the_pattern_is_that_of_the_warning() -> None:
    lines = re.findall(r'f?"([^"]*)"', inspect.getsource(_fsdp_state.FSDPState._register_pre_backward_hook))
    message = next(line for line in lines if "view" in line)
    assert any(re.match(pattern, message) for pattern in _IGNORED_WARNINGS)
