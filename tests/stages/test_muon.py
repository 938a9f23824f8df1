"""Muon against the singular value decomposition, and against PyTorch's optimisers one by one."""

from __future__ import annotations

import copy
import io

import torch
from torch import Tensor, nn

from lightning_n2m.stages.muon import MuonWithAdam, split_parameters
from tests.stages.test_base import unet

RATE = 1e-2


def gradients(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def optimiser(module: nn.Module) -> MuonWithAdam:
    return MuonWithAdam(*split_parameters(module), RATE)


def test_matrices_and_kernels_go_to_muon_and_the_rest_to_adam() -> None:
    network = unet()
    matrices, others = split_parameters(network)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    chosen = {names[id(parameter)] for parameter in matrices}
    assert {names[id(parameter)] for parameter in others} | chosen == set(names.values())
    assert all(parameter.dim() > 1 for parameter in matrices)
    assert {"blocks_down.0.0.conv_1.weight", "downs.0.weight", "ups.0.weight"} <= chosen
    assert "blocks_down.1.0.cross_attention.kv.weight" in chosen
    assert not {"entry.weight", "exit.weight", "blocks_down.0.0.norm_1.weight"} & chosen


def test_the_step_of_a_kernel_is_the_nearest_orthogonal_matrix_to_its_gradient() -> None:
    """Newton-Schulz brings all singular values near 1; the exact step has all of them at 1 (SVD)."""
    kernel = nn.Conv1d(6, 8, 5, bias=False)
    before = kernel.weight.detach().clone()
    gradients(kernel, 0)
    assert kernel.weight.grad is not None
    u, _, v = torch.linalg.svd(kernel.weight.grad.flatten(1), full_matrices=False)
    optimiser(kernel).step()
    step = (before - kernel.weight.detach()).flatten(1) / (RATE * 0.2 * 30**0.5)
    values = torch.linalg.svdvals(step)
    assert values.min() > 0.6 and values.max() < 1.3
    cosine = torch.cosine_similarity(step.flatten(), (u @ v).flatten(), dim=0)
    assert cosine > 0.97


def test_both_parts_equal_pytorchs_optimisers_on_their_own() -> None:
    """The same steps by `torch.optim.Muon` on a matrix of its own and `torch.optim.Adam` on the bias."""
    layer = nn.Conv1d(3, 4, 3)
    matrix = nn.Parameter(layer.weight.detach().flatten(1).clone())
    assert layer.bias is not None
    bias = nn.Parameter(layer.bias.detach().clone())
    both = optimiser(layer)
    muon = torch.optim.Muon([matrix], RATE, weight_decay=0, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.Adam([bias], RATE, fused=True)
    for step in range(4):
        gradients(layer, step)
        assert layer.weight.grad is not None and layer.bias.grad is not None
        matrix.grad, bias.grad = layer.weight.grad.flatten(1).clone(), layer.bias.grad.clone()
        # The schedule changes the rate of the groups.
        for group in (*both.param_groups, *muon.param_groups, *adam.param_groups):
            group["lr"] = RATE / (1 + step)
        for optimizer in (both, muon, adam):
            optimizer.step()
    assert torch.equal(layer.weight.flatten(1), matrix)
    assert torch.equal(layer.bias, bias)


def test_a_restored_optimiser_continues_bit_for_bit() -> None:
    network = unet()
    optimizer = optimiser(network)
    for step in range(3):
        gradients(network, step)
        optimizer.step()
    stored = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, stored)
    stored.seek(0)
    saved = torch.load(stored, weights_only=True)
    other = unet()
    other.load_state_dict(saved["network"])
    restored = optimiser(other)
    restored.load_state_dict(saved["optimizer"])
    for module, current in ((network, optimizer), (other, restored)):
        for step in range(3, 5):
            gradients(module, step)
            current.step()
    assert states(network) == states(other)
    fresh = unet()
    fresh.load_state_dict(saved["network"])
    forgetful = optimiser(fresh)
    for step in range(3, 5):
        gradients(fresh, step)
        forgetful.step()
    assert states(fresh) != states(other), "the momenta matter"


def states(module: nn.Module) -> list[list[float]]:
    return [tensor.flatten().tolist() for tensor in copy.deepcopy(module.state_dict()).values()]


def test_parameters_without_gradient_stay() -> None:
    layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    before: list[Tensor] = [p.detach().clone() for p in layers[1].parameters()]
    optimizer = optimiser(layers)
    gradients(layers[0], 0)
    optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(layers[1].parameters(), before, strict=True))
