from __future__ import annotations

import pytest
import torch

from lightning_n2m.integers import ceil_div
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.unet import UNet1d

SMALL = {
    "channels": 2,
    "base_channels": 16,
    "multipliers": [1, 2, 3],
    "strides": [4, 3, 2],
    "blocks": [1, 2, 1],
    "self_attention": [False, False, True],
    "cross_attention": [False, True, True],
    "kernel_size": 5,
    "heads": 4,
    "text_channels": 6,
    "stacked_channels": 1,
    "aligned_channels": 5,
    "augmentation_level": True,
    "pooled_text": True,
    "groups": 8,
}


@pytest.fixture
def small_unet():
    """Builds a U-Net with every input; weights that are initialised to zero are random, so that all act."""

    def build(**changes):
        torch.manual_seed(0)
        network = UNet1d(**{**SMALL, **changes})
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        return network.eval()

    return build


@pytest.fixture
def inputs():
    """Draws x_t, times and conditions for the small U-Net from one seed."""

    def draw(length=48, batch=2, tokens=7, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def randn(*shape):
            return torch.randn(shape, generator=generator)

        conditions = Conditions(
            text=randn(batch, tokens, 6),
            text_mask=torch.arange(tokens) < torch.arange(tokens, tokens - batch, -1)[:, None],
            stacked=randn(batch, 1, length),
            aligned=randn(batch, 5, ceil_div(length, 24)),
            level=torch.rand(batch, generator=generator),
        )
        return randn(batch, 2, length), torch.rand(batch, generator=generator), conditions

    return draw
