"""The FSDP2 warning about views that is not shown, and the numbering of optimiser states."""

from __future__ import annotations

import inspect
import re

import torch
from torch import Tensor, nn
from torch.distributed.fsdp._fully_shard import _fsdp_state

from lightning_n2m.cli.lightning_cli import _IGNORED_WARNINGS
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.unet import UNet1d
from lightning_n2m.stages.sharding import UNITS, number_by_module


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


def test_optimiser_states_are_numbered_by_the_place_in_the_module() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    module[0].requires_grad_(False)
    optimizer = torch.optim.Adam(p for p in module.parameters() if p.requires_grad)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    number_by_module([state], module)
    # Weight and bias of the second layer are the third and fourth parameters.
    assert state["state"].keys() == {2, 3}
    assert state["param_groups"][0]["params"] == [2, 3]
    assert state["state"][2]["exp_avg"].shape == (2, 3)
    # PyTorch reads the numbers in their order, so that the state still loads.
    other = torch.optim.Adam(p for p in module.parameters() if p.requires_grad)
    other.load_state_dict(state)
    expected = optimizer.state_dict()["state"][1]["exp_avg"]
    assert torch.equal(other.state_dict()["state"][1]["exp_avg"], expected)
