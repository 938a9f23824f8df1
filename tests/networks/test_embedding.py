from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.networks.embedding import PooledText, TimeEmbedding, rotate


def test_frequencies_are_those_of_ho_et_al():
    embedding = TimeEmbedding(8)
    torch.nn.init.eye_(embedding.linear.weight)
    torch.nn.init.zeros_(embedding.linear.bias)
    t = 0.37
    angles = [1000 * t / 10_000 ** (i / 4) for i in range(4)]
    expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    assert embedding(torch.tensor([t]))[0].tolist() == pytest.approx(expected, abs=1e-4)


def test_times_one_smallest_step_apart_have_different_embeddings():
    embedding = TimeEmbedding(64)
    torch.nn.init.eye_(embedding.linear.weight)
    times = embedding(torch.tensor([0.0, 0.01 / 400, 0.5, 0.5 + 0.01 / 400]))
    assert (times[1] - times[0]).norm() > 0.01
    assert (times[3] - times[2]).norm() > 0.01


@pytest.mark.parametrize("width", [8, 9])
def test_products_of_rotated_vectors_depend_on_the_distance_only(width):
    q, k = torch.randn(2, 1, 1, 1, width, generator=torch.Generator().manual_seed(0)).unbind(0)
    rotated_q, rotated_k = rotate(q.expand(1, 1, 30, width)), rotate(k.expand(1, 1, 30, width))
    products = (rotated_q @ rotated_k.transpose(2, 3))[0, 0]
    for distance in (0, 3, 11):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)
    assert products[0].std() > 0.1


def test_rotation_equals_complex_multiplication_and_keeps_norms():
    x = torch.randn(1, 1, 20, 6, generator=torch.Generator().manual_seed(0))
    frequencies = 10_000.0 ** (-torch.arange(3) / 3)
    turn = torch.polar(torch.ones(20, 3), torch.arange(20)[:, None] * frequencies)
    turned = torch.complex(x[..., :3], x[..., 3:]) * turn
    torch.testing.assert_close(rotate(x), torch.cat([turned.real, turned.imag], dim=-1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rotate(x).norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(rotate(x)[:, :, 0], x[:, :, 0])


def test_a_pooled_text_is_the_mean_of_its_tokens_and_zero_without_tokens():
    torch.manual_seed(0)
    pooled, text = PooledText(6, 4), torch.randn(3, 5, 6)
    lengths = torch.tensor([2, 5, 0])
    mask = torch.arange(5) < lengths[:, None]
    vectors = pooled(text, mask)
    for row, length in enumerate(lengths[:2]):
        mean = text[row, :length].mean(0)
        torch.testing.assert_close(vectors[row], pooled.linear(pooled.norm(mean)))
    assert torch.equal(vectors[2], torch.zeros(4))
