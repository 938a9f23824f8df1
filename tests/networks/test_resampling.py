"""Layers that change the rate: kernels, alignment, and the tones that unequal phases add."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lightning_n2m.errors import InputError
from lightning_n2m.networks.resampling import Down, Up, equalise_phases, resampling_kernel, widen_kernels
from lightning_n2m.networks.unet import UNet1d
from tests.networks.spectral_lines import largest_line

EARLIER = {"resample_kernel": "kernel_size"}
MULTIPLES = {"resample_kernel": "stride_multiple"}
EQUAL = {"resample_kernel": "stride_multiple", "equal_phases": True}


def new_network(seed, **settings):
    """A network as it is before training, but for the exit, which would return zeros."""
    torch.manual_seed(seed)
    network = UNet1d(1, 16, [2, 4], [4, 4], [1, 1], [False] * 2, [False] * 2, 7, **settings)
    torch.nn.init.normal_(network.exit.weight, std=0.1)
    return network.eval()


def line_of_noise(seed, **settings):
    """Largest spectral line in dB of the response to white noise, at the multiples of rate / 4."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, 1, 40 * 1024, generator=generator)
    with torch.no_grad():
        return largest_line(new_network(seed, **settings)(noise, torch.full((2,), 0.5)), period=4)


def test_noise_itself_has_no_lines():
    assert largest_line(torch.randn(2, 1, 40 * 1024, generator=torch.Generator().manual_seed(0)), 4) < 2


def test_a_new_network_with_equal_phases_adds_no_tones_to_noise():
    assert max(line_of_noise(seed, **EQUAL) for seed in range(6)) < 2


@pytest.mark.parametrize("settings", [EARLIER, MULTIPLES], ids=["7 over 4", "8 over 4"])
def test_unequal_phases_add_tones_whether_the_stride_divides_the_kernel_or_not(settings):
    assert max(line_of_noise(seed, **settings) for seed in range(6)) > 6


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
def test_equal_phases_map_a_constant_to_a_constant(stride):
    torch.manual_seed(0)
    constant = torch.randn(1, 6, 1).expand(1, 6, 12)
    for equal in (True, False):
        out = Up(6, 3, 7, stride, "stride_multiple", equal)(constant)[..., 3 * stride : -3 * stride]
        assert (out.std(-1).max() < 1e-6) == equal


def test_equal_phases_keep_weights_that_are_equal_and_the_mean_of_others():
    linear = torch.tensor([0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125]).expand(3, 2, 8)
    torch.testing.assert_close(equalise_phases(linear, 4), linear)
    weight = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(equalise_phases(weight, 4).sum(-1), weight.sum(-1))


@pytest.mark.parametrize(
    ("kernel_size", "stride", "expected"),
    [(7, 4, 8), (9, 4, 12), (9, 3, 9), (9, 2, 10), (5, 2, 6), (5, 5, 10), (3, 4, 8), (3, 2, 4)],
)
def test_kernels_are_multiples_of_the_stride(kernel_size, stride, expected):
    assert resampling_kernel(kernel_size, stride, "stride_multiple") == expected
    assert resampling_kernel(kernel_size, stride, "kernel_size") == max(kernel_size, stride)


@pytest.mark.parametrize("layer", [Down, Up])
@pytest.mark.parametrize("stride", [2, 3, 4, 5])
@pytest.mark.parametrize("kernel_size", [3, 5, 7, 9])
def test_lengths_are_exact_and_every_sample_counts(layer, stride, kernel_size):
    x = torch.randn(1, 2, stride * 12, requires_grad=True)
    y = layer(2, 2, kernel_size, stride, "stride_multiple")(x)
    assert y.shape[-1] == (12 if layer is Down else stride * stride * 12)
    y.square().sum().backward()
    assert (x.grad.abs().sum((0, 1)) > 0).all()


@pytest.mark.parametrize(("kernel_size", "strides"), [(7, [4, 4]), (9, [4, 3]), (5, [2, 5]), (3, [4, 2])])
def test_widened_kernels_compute_the_same_function(kernel_size, strides):
    networks = {}
    for name, settings in (("earlier", EARLIER), ("wider", MULTIPLES)):
        torch.manual_seed(0)
        networks[name] = UNet1d(
            1, 8, [1, 2], strides, [1, 1], [False] * 2, [False] * 2, kernel_size, **settings
        )
        torch.nn.init.normal_(networks[name].exit.weight, std=0.3)
    earlier, wider = networks["earlier"], networks["wider"]
    weights = earlier.state_dict()
    wider.load_state_dict(widen_kernels(weights, wider))
    assert wider.ups[0].weight.shape[-1] > earlier.ups[0].weight.shape[-1]
    x, t = torch.randn(2, 1, 203), torch.rand(2)
    torch.testing.assert_close(wider(x, t), earlier(x, t), atol=1e-5, rtol=1e-5)
    assert all(value is weights[name] for name, value in widen_kernels(weights, earlier).items())


def test_settings_of_earlier_networks_are_the_defaults():
    network = UNet1d(1, 8, [1, 2], [4, 4], [1, 1], [False] * 2, [False] * 2, 7)
    assert [layer.kernel_size for layer in (*network.downs, *network.ups)] == [(7,)] * 4
    x = torch.randn(1, 8, 6)
    up = network.ups[0]
    expected = F.conv_transpose1d(torch.cat([x, x]), up.weight, up.bias, 4, padding=2, output_padding=1)
    torch.testing.assert_close(up(torch.cat([x, x])), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kernel_size", "stride"), [(7, 4), (3, 4)])
def test_equal_phases_of_other_kernels_are_refused(kernel_size, stride):
    with pytest.raises(InputError, match="set resample_kernel to stride_multiple"):
        Up(2, 2, kernel_size, stride, equal_phases=True)


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
@pytest.mark.parametrize("kernel", [3, 4, 5, 7, 9])
def test_earlier_kernels_divide_and_multiply_the_length_exactly(stride, kernel):
    x = torch.randn(1, 3, stride * 11)
    low = Down(3, 4, kernel, stride)(x)
    assert low.shape == (1, 4, 11)
    assert Up(4, 3, kernel, stride)(low).shape == x.shape


@pytest.mark.parametrize(("kernel", "stride"), [(3, 4), (5, 4), (7, 4), (5, 5), (9, 3)])
def test_earlier_kernels_use_every_sample(kernel, stride):
    x = torch.randn(1, 2, stride * 12, requires_grad=True)
    Down(2, 4, kernel, stride)(x).square().sum().backward()
    assert (x.grad[..., stride:-stride].abs().sum((0, 1)) > 0).all()


@pytest.mark.parametrize("rule", ["kernel_size", "stride_multiple"])
@pytest.mark.parametrize(("kernel", "stride"), [(5, 2), (7, 4), (9, 3), (5, 5)])
def test_up_sampling_is_aligned_with_down_sampling(kernel, stride, rule):
    down, up = Down(1, 1, kernel, stride, rule), Up(1, 1, kernel, stride, rule)
    for layer in (down, up):
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.zeros(1, 1, stride * 21)
    x[..., stride * 10 + stride // 2] = 1
    response = up(down(x))[0, 0].detach()
    centre = (response * torch.arange(len(response))).sum() / response.sum()
    assert abs(centre - (stride * 10 + stride // 2)) <= stride / 2 + 0.5
