from __future__ import annotations

import pytest
import torch

from lightning_n2m.networks import convolution
from lightning_n2m.networks.convolution import Conv, Down, Entry, Up


@pytest.mark.parametrize("products", [False, True], ids=["library", "products"])
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
    ids=["kernel 5", "kernel 1", "down 4", "down 6", "up 4", "entry", "down in rows", "up in rows"],
)
def test_it_is_the_one_dimensional_convolution_in_channels_last_memory(layer, products, monkeypatch):
    monkeypatch.setattr(convolution, "uses_im2col_gradient", lambda x: products)
    one_dimensional = torch.nn.ConvTranspose1d if isinstance(layer, Up) else torch.nn.Conv1d
    x = torch.randn(3, 6, 48, requires_grad=True)
    ours, theirs = layer(x.mT.contiguous().mT), one_dimensional.forward(layer, x)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert ours.stride(1) == 1
    learnt, weight = (x, *layer.parameters()), torch.randn_like(ours)
    gradients = (torch.autograd.grad((y * weight).sum(), learnt) for y in (ours, theirs))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)
