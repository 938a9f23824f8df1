from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lightning_n2m.networks.pointwise import FiLM, GroupNorm, scale_shift


def sequence(dtype=torch.float32, length=150, channels=24, offset=0.0):
    torch.manual_seed(0)
    return (torch.randn(3, length, channels, dtype=torch.float64) + offset).to(dtype).mT


def like_torch(norm):
    reference = torch.nn.GroupNorm(norm.num_groups, norm.num_channels)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    reference.load_state_dict(norm.state_dict())
    return reference


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("groups", [1, 8, 24])
@pytest.mark.parametrize("length", [5, 63, 150])
def test_group_norm_is_that_of_torch(silu, groups, length):
    norm = GroupNorm(24, groups)
    reference = like_torch(norm)
    x, y = (sequence(length=length, offset=1.0).requires_grad_() for _ in range(2))
    ours = norm(x, silu=silu)
    theirs = F.silu(reference(y)) if silu else reference(y)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
    weight = torch.randn_like(ours)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(norm.weight.grad, reference.weight.grad, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(norm.bias.grad, reference.bias.grad, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_in_16_bits_the_statistics_keep_their_precision(offset):
    """A plain sum of 16-bit numbers is off by up to 0.4 %, which a mean of 3 turns into 12 % of variance."""
    norm = GroupNorm(32)
    x = sequence(torch.bfloat16, 4096, 32, offset)
    exact = F.group_norm(x.double(), 32)
    error = norm(x).double() - exact
    assert norm(x).dtype == torch.bfloat16
    assert error.square().mean().sqrt() < 0.01
    assert (norm(x).double().std(-1) - 1).abs().max() < 0.01


@pytest.mark.parametrize("silu", [False, True])
def test_the_gradients_of_scale_and_shift_are_those_of_finite_differences(silu):
    torch.manual_seed(0)
    inputs = (torch.randn(2, 3, 7), torch.randn(2, 3, 1), torch.randn(2, 3, 1))
    inputs = tuple(i.double().requires_grad_() for i in inputs)
    assert torch.autograd.gradcheck(lambda *a: scale_shift(*a, silu=silu), inputs)


def test_groups_that_do_not_divide_the_channels_become_fewer():
    assert GroupNorm(48).num_groups == 24
    assert GroupNorm(20, 8).num_groups == 5


def test_a_new_combination_changes_nothing_and_keeps_the_precision():
    x = sequence(torch.bfloat16)
    y = FiLM(4, 24)(x, torch.randn(3, 4))
    assert torch.equal(x, y) and y.stride() == x.stride()
