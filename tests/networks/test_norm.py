from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lightning_n2m.networks.norm import GroupNorm


def sequence(dtype=torch.float32, length=150, channels=24, offset=0.0):
    """Noise ``(3, channels, length)`` in channels-last memory."""
    torch.manual_seed(0)
    return (torch.randn(3, length, channels, dtype=torch.float64) + offset).to(dtype).mT


def pytorch_norm(norm):
    """PyTorch's GroupNorm with the weights of a layer, which are drawn at random first."""
    reference = torch.nn.GroupNorm(norm.num_groups, norm.num_channels)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    reference.load_state_dict(norm.state_dict())
    return reference


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("groups", [1, 8, 24])
@pytest.mark.parametrize("length", [5, 63, 150])
def test_outputs_and_gradients_equal_those_of_pytorch(silu, groups, length):
    norm = GroupNorm(24, groups)
    reference = pytorch_norm(norm)
    x, y = (sequence(length=length, offset=1.0).requires_grad_() for _ in range(2))
    output = norm(x, silu=silu)
    expected = F.silu(reference(y)) if silu else reference(y)
    torch.testing.assert_close(output, expected, atol=2e-5, rtol=1e-4)
    weight = torch.randn_like(output)
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(norm.weight.grad, reference.weight.grad, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(norm.bias.grad, reference.bias.grad, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("length", [4096, 4100])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_statistics_of_16_bit_inputs_are_precise(offset, length):
    """A sum that is rounded to 16 bits is off by up to 0.4 %: at a mean of 3, 12 % of the variance."""
    norm = GroupNorm(32)
    x = sequence(torch.bfloat16, length, 32, offset)
    exact = F.group_norm(x.double(), 32)
    output = norm(x)
    assert output.dtype == torch.bfloat16
    assert (output.double() - exact).square().mean().sqrt() < 0.01
    assert (output.double().std(-1) - 1).abs().max() < 0.01


def test_statistics_are_float32_under_autocast():
    """Autocast lowers neither the precision of a float32 input nor that of the statistics of a 16-bit one."""
    norm, x = GroupNorm(32), sequence(length=4096, channels=32, offset=3.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(norm(x), GroupNorm(32)(x))
        assert norm(x).dtype == torch.float32
        half = norm(x.bfloat16())
    # Scale and shift are 16-bit numbers: a shift of 3 is off by at most 3 / 2**8.
    torch.testing.assert_close(half.float().mean(-1), torch.zeros(3, 32), atol=3 / 2**8 + 0.01, rtol=0)


@pytest.mark.parametrize(
    ("channels", "groups", "expected"),
    [
        (256, 32, 32),
        (512, 32, 32),
        (80, 32, 20),
        (16, 32, 16),
        (36, 32, 18),
        (31, 32, 31),
        (48, 32, 24),
        (20, 8, 5),
    ],
)
def test_the_number_of_groups_is_a_divisor_of_the_channels(channels, groups, expected):
    assert GroupNorm(channels, groups).num_groups == expected
