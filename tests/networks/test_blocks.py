from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from lightning_n2m.networks.blocks import Block, CrossAttention, SelfAttention
from lightning_n2m.networks.embedding import rotate


def randomised(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def attend(q, k, v, heads):
    """Multi-head attention of ``(c, t)`` by loops: softmax(q k / sqrt(width)) v, head by head."""
    width = len(q) // heads
    outputs = []
    for h in range(heads):
        rows = slice(h * width, (h + 1) * width)
        weights = torch.softmax(q[rows].T @ k[rows] / math.sqrt(width), dim=-1)
        outputs.append((weights @ v[rows].T).T)
    return torch.cat(outputs)


def test_a_block_is_figure_5():
    block = randomised(Block(8, 5, 4, self_attention=False, text_channels=None, heads=1))
    x, embedding = torch.randn(2, 8, 20), torch.randn(2, 4)
    scale, bias = F.linear(embedding, block.combine.linear.weight, block.combine.linear.bias).split(8, dim=1)
    # The embedding enters before the two branches part.
    combined = x * (1 + scale[..., None]) + bias[..., None]
    h = F.conv1d(F.silu(block.norm_1(combined)), block.conv_1.weight, block.conv_1.bias, padding=2)
    h = F.conv1d(F.silu(block.norm_2(h)), block.conv_2.weight, block.conv_2.bias, padding=2)
    shortcut = F.conv1d(combined, block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x, embedding, None, None), shortcut + h, atol=1e-4, rtol=1e-4)


def test_a_new_block_is_the_identity():
    block = Block(8, 5, 4, self_attention=True, text_channels=None, heads=2)
    for parameter in (block.conv_2.bias, block.self_attention.out.bias, block.self_attention.mlp.fall.bias):
        torch.nn.init.zeros_(parameter)
    x = torch.randn(2, 8, 20)
    torch.testing.assert_close(block(x, torch.randn(2, 4), None, None), x)


def test_cross_attention_attends_head_by_head_to_the_visible_tokens():
    layer = randomised(CrossAttention(8, 6, heads=2))
    x, text = torch.randn(1, 8, 10), torch.randn(1, 5, 6)
    mask = torch.tensor([[True, False, True, True, False]])
    q = F.conv1d(layer.norm(x), layer.q.weight)[0]
    k, v = F.linear(layer.text_norm(text[0, mask[0]]), layer.kv.weight).T.split(8)
    attended = F.conv1d(attend(q, k, v, 2)[None], layer.out.weight, layer.out.bias)
    torch.testing.assert_close(layer(x, text, mask), layer.mlp(x + attended), atol=1e-4, rtol=1e-4)


def test_cross_attention_without_a_token_leaves_only_the_mlp():
    layer = randomised(CrossAttention(8, 6, heads=2))
    x, text = torch.randn(2, 8, 10), torch.randn(2, 5, 6)
    mask = torch.tensor([[False] * 5, [True] * 5])
    out = layer(x, text, mask)
    assert torch.equal(out[0], layer.mlp(x)[0])
    assert not torch.allclose(out[1], layer.mlp(x)[1])


def test_self_attention_attends_head_by_head_with_rotated_queries_and_keys():
    layer = randomised(SelfAttention(8, heads=2))
    x = torch.randn(1, 8, 12)
    q, k, v = F.conv1d(layer.norm(x), layer.qkv.weight)[0].split(8)
    q, k = (rotate(y.view(2, 4, 12).transpose(1, 2)).transpose(1, 2).reshape(8, 12) for y in (q, k))
    attended = F.conv1d(attend(q, k, v, 2)[None], layer.out.weight, layer.out.bias)
    torch.testing.assert_close(layer(x), layer.mlp(x + attended), atol=1e-4, rtol=1e-4)
