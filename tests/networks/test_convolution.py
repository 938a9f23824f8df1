from __future__ import annotations

import pytest
import torch

from lightning_n2m.networks import convolution
from lightning_n2m.networks.convolution import Conv, Entry
from lightning_n2m.networks.resampling import Down, Up


@pytest.mark.parametrize("im2col", [False, True], ids=["oneDNN", "im2col"])
@pytest.mark.parametrize(
    "layer",
    [
        Conv(6, 10, 5, padding=2),
        Conv(6, 10, 1, bias=False),
        Down(6, 10, 5, 4),
        Down(6, 10, 3, 6),
        Up(6, 10, 5, 4),
        Entry(6, 10, 3, padding=1),
        Down(6, 10, 3, 4),
        Up(6, 10, 3, 4),
    ],
    ids=[
        "kernel 5",
        "kernel 1",
        "down 4",
        "down 6",
        "up 4",
        "entry",
        "down without overlap",
        "up without overlap",
    ],
)
def test_layers_equal_those_of_pytorch_in_channels_last_memory(layer, im2col, monkeypatch):
    monkeypatch.setattr(convolution, "uses_im2col_gradient", lambda x: im2col)
    one_dimensional = torch.nn.ConvTranspose1d if isinstance(layer, Up) else torch.nn.Conv1d
    x = torch.randn(3, 6, 48, requires_grad=True)
    output, expected = layer(x.mT.contiguous().mT), one_dimensional.forward(layer, x)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert output.stride(1) == 1
    leaves, weight = (x, *layer.parameters()), torch.randn_like(output)
    gradients = (torch.autograd.grad((y * weight).sum(), leaves) for y in (output, expected))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)
