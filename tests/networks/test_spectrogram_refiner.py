from __future__ import annotations

import pytest
import torch

from lightning_n2m.networks import convolution
from lightning_n2m.networks.convolution import Conv2d
from lightning_n2m.networks.spectrogram_refiner import SpectrogramRefiner


def random_refiner() -> SpectrogramRefiner:
    torch.manual_seed(0)
    refiner = SpectrogramRefiner(80, 8, 6)
    for name, parameter in refiner.named_parameters():
        if name != "rows":
            torch.nn.init.normal_(parameter, std=0.3)
    return refiner


@pytest.mark.parametrize("length", [64, 61, 3])
def test_a_new_refiner_changes_nothing_at_any_length(length: int) -> None:
    x_t, output = torch.randn(2, 2, 24, length)
    assert torch.equal(SpectrogramRefiner(24, 8, 6)(x_t, output, torch.randn(2, 6)), output)


def test_weights_are_shared_over_channels_and_time() -> None:
    """A tone at another channel and another time gets the same correction there."""
    refiner, embedding = random_refiner(), torch.randn(1, 6)
    x_t, output = torch.zeros(2, 1, 80, 800)
    x_t[:, 39:41, 350:380], output[:, 40, 360:400] = torch.randn(1, 2, 30), 1.0
    moved = [torch.roll(y, (2, 4), (1, 2)) for y in (x_t, output)]
    corrected_moved = refiner(*moved, embedding)
    corrected = refiner(x_t, output, embedding)
    inside = (slice(None), slice(30, 50), slice(330, 450))
    assert (corrected - output)[inside].abs().max() > 0.1
    silence = refiner(torch.zeros_like(x_t), torch.zeros_like(output), embedding)
    change = torch.roll(corrected - silence, (2, 4), (1, 2))
    torch.testing.assert_close((corrected_moved - silence)[inside], change[inside], atol=1e-4, rtol=1e-4)


def test_the_receptive_field_exceeds_a_second_on_either_side() -> None:
    refiner = random_refiner()
    x_t = torch.zeros(1, 80, 400, requires_grad=True)
    refiner(x_t, torch.zeros(1, 80, 400), torch.randn(1, 6))[0, 40, 200].backward()
    assert x_t.grad is not None
    reached = x_t.grad[0].abs().amax(0).nonzero().flatten()
    assert reached[0] < 90 and reached[-1] > 310


@pytest.mark.parametrize("dilation", [1, 3])
def test_the_2d_convolution_equals_that_of_pytorch(dilation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "uses_im2col_gradient", lambda x: True)
    layer = Conv2d(5, 7, 3, padding=(1, dilation), dilation=(1, dilation))
    x = torch.randn(2, 5, 6, 20).contiguous(memory_format=torch.channels_last).requires_grad_()
    output, expected = layer(x), torch.nn.Conv2d.forward(layer, x)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(output)
    gradients = (
        torch.autograd.grad((y * weight).sum(), (x, *layer.parameters())) for y in (output, expected)
    )
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)
