from __future__ import annotations

import pytest
import torch

from lightning_n2m.networks.film import FiLM


def test_scale_and_bias_follow_from_the_embedding():
    torch.manual_seed(0)
    layer, x, embedding = FiLM(4, 6), torch.randn(2, 6, 9), torch.randn(2, 4)
    torch.nn.init.normal_(layer.linear.weight)
    torch.nn.init.normal_(layer.linear.bias)
    scale, bias = layer.linear(embedding).split(6, dim=1)
    expected = x * (1 + scale[..., None]) + bias[..., None]
    torch.testing.assert_close(layer(x, embedding), expected)
    torch.testing.assert_close(layer(x, embedding, silu=True), torch.nn.functional.silu(expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_layer_is_the_identity_and_keeps_precision_and_memory_format(dtype):
    x = torch.randn(3, 150, 24).to(dtype).mT
    y = FiLM(4, 24)(x, torch.randn(3, 4))
    assert torch.equal(x, y)
    assert y.stride() == x.stride()
