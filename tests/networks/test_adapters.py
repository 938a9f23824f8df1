"""Adapters compute what the changed weights compute, and change nothing at strength zero."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.errors import InputError
from lightning_n2m.networks.adapters import (
    AdapterSettings,
    WeightedAdapter,
    adapter_tensors,
    attach,
    factorise,
    merge,
)
from lightning_n2m.networks.convolution import Conv, Conv2d, Entry
from lightning_n2m.networks.resampling import Down, Up

LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 5), (2, 3, 6)),
    "linear without bias": (lambda: nn.Linear(6, 5, bias=False), (2, 6)),
    "kernel 3": (lambda: Conv(4, 6, 3, padding=1), (2, 4, 16)),
    "kernel 1 without bias": (lambda: Conv(4, 6, 1, bias=False), (2, 4, 16)),
    "entry": (lambda: Entry(2, 6, 3, padding=1), (2, 2, 16)),
    "down": (lambda: Down(4, 6, 3, 2, "stride_multiple"), (2, 4, 16)),
    "down whose kernel is its stride": (lambda: Down(4, 6, 3, 4), (2, 4, 16)),
    "up": (lambda: Up(4, 6, 3, 2, "stride_multiple"), (2, 4, 16)),
    "up with equal phases": (lambda: Up(4, 6, 3, 2, "stride_multiple", True), (2, 4, 16)),
    "up whose kernel is its stride": (lambda: Up(4, 6, 3, 4), (2, 4, 16)),
    "dilated image": (lambda: Conv2d(4, 6, 3, padding=(1, 2), dilation=(1, 2)), (2, 4, 5, 8)),
}


def trained(network: nn.Module, settings: AdapterSettings, seed: int = 0) -> nn.Module:
    """A copy with an adapter whose tensors are random, as after a training."""
    adapted = copy.deepcopy(network)
    attach(adapted, settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return adapted


def weighted(adapted: nn.Module, settings: AdapterSettings, strength: float) -> WeightedAdapter:
    tensors = {name: t.clone() for name, t in adapter_tensors(adapted.state_dict()).items()}
    return WeightedAdapter(settings, tensors, strength, str(hash(tuple(tensors))) + str(id(tensors)))


def merged(network: nn.Module, *adapters: WeightedAdapter) -> nn.Module:
    result = copy.deepcopy(network)
    merge(result, adapters)
    return result


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("kind", LAYERS)
def test_merged_weights_compute_what_the_trained_adapter_computes(kind: str, method: Any) -> None:
    build, shape = LAYERS[kind]
    torch.manual_seed(1)
    network = nn.Sequential(build())
    settings = AdapterSettings(method, rank=2, alpha=3.0)
    adapted = trained(network, settings)
    x = torch.randn(shape)
    expected = adapted(x)
    result = merged(network, weighted(adapted, settings, 1.0))(x)
    assert not torch.allclose(result, network(x), atol=1e-2)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_new_adapter_changes_nothing_and_trains_nothing_else(kind: str) -> None:
    build, shape = LAYERS[kind]
    network = nn.Sequential(build())
    adapted = copy.deepcopy(network)
    attach(adapted, AdapterSettings(rank=2))
    x = torch.randn(shape)
    torch.testing.assert_close(adapted(x), network(x), rtol=0, atol=0)
    adapted(x).square().sum().backward()
    with_gradient = {name for name, p in adapted.named_parameters() if p.grad is not None}
    assert with_gradient == {"0.adapter.down", "0.adapter.up"}


def test_dora_is_the_formula_of_its_paper() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 5)
    settings = AdapterSettings("dora", rank=2, alpha=6.0)
    adapted = trained(nn.Sequential(layer), settings)
    adapter: Any = adapted[0].adapter  # type: ignore[index]
    x = torch.randn(7, 6)
    # W' = m (W + alpha / r * B A) / |W + alpha / r * B A| per output.
    direction = layer.weight + 3.0 * adapter.up @ adapter.down
    weight = adapter.magnitude[:, None] * direction / direction.norm(dim=1, keepdim=True)
    torch.testing.assert_close(adapted(x), F.linear(x, weight, layer.bias), rtol=1e-5, atol=1e-6)


def test_dora_passes_no_gradient_into_the_norm() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 5, bias=False)
    settings = AdapterSettings("dora", rank=2, alpha=2.0)
    adapted = trained(nn.Sequential(layer), settings)
    adapter: Any = adapted[0].adapter  # type: ignore[index]
    x = torch.randn(7, 6)
    adapted(x).square().sum().backward()
    up = adapter.up.detach().clone().requires_grad_()
    direction = layer.weight.detach() + up @ adapter.down.detach()
    norm = direction.detach().norm(dim=1, keepdim=True)
    F.linear(x, adapter.magnitude.detach()[:, None] * direction / norm).square().sum().backward()
    torch.testing.assert_close(adapter.up.grad, up.grad, rtol=1e-4, atol=1e-5)


def two_layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 5))


def test_zero_strength_leaves_every_bit() -> None:
    network = two_layers()
    settings = AdapterSettings("dora", rank=2)
    result = merged(network, weighted(trained(network, settings), settings, 0.0))
    for name, tensor in network.state_dict().items():
        assert torch.equal(result.state_dict()[name], tensor)


def test_merging_adds_the_products_of_the_factors_at_their_strengths() -> None:
    network = two_layers()
    settings = [AdapterSettings(rank=2, alpha=5.0), AdapterSettings(rank=3, layers=["1"])]
    adapters = [weighted(trained(network, s, i), s, 0.7 - i) for i, s in enumerate(settings)]
    result = merged(network, *adapters)
    expected = network[1].weight.double()  # type: ignore[index, union-attr]
    for adapter in adapters:
        tensors: Any = adapter.tensors
        product = tensors["1.up"].double() @ tensors["1.down"].double()
        expected = expected + adapter.strength * adapter.settings.alpha / adapter.settings.rank * product
    torch.testing.assert_close(result[1].weight.double(), expected, rtol=2e-7, atol=1e-8)  # type: ignore[index, union-attr]


def test_the_order_of_adapters_has_no_effect_on_any_bit() -> None:
    network = two_layers()
    settings = AdapterSettings("dora", rank=2)
    adapters = [weighted(trained(network, settings, i), settings, 0.3 + i) for i in range(3)]
    results = [merged(network, *order).state_dict() for order in itertools.permutations(adapters)]
    for result in results[1:]:
        assert all(torch.equal(result[name], tensor) for name, tensor in results[0].items())


def test_half_the_strength_is_half_the_change_for_dora_too() -> None:
    network = two_layers()
    settings = AdapterSettings("dora", rank=2)
    adapted = trained(network, settings)
    weight, half, whole = (
        merged(network, weighted(adapted, settings, s))[0].weight  # type: ignore[index]
        for s in (0.0, 0.5, 1.0)
    )
    torch.testing.assert_close(half, (weight + whole) / 2, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["linear", "kernel 3", "up with equal phases", "dilated image"])
def test_a_difference_of_low_rank_becomes_an_adapter_without_error(kind: str) -> None:
    network = nn.Sequential(LAYERS[kind][0]())
    settings = AdapterSettings(rank=2, alpha=3.0)
    result = merged(network, weighted(trained(network, settings), settings, 1.0))
    tensors = factorise(network, result.state_dict(), settings)
    again = merged(network, WeightedAdapter(settings, tensors, 1.0, ""))
    torch.testing.assert_close(again[0].weight, result[0].weight, rtol=1e-5, atol=1e-6)  # type: ignore[index]


def test_a_pattern_that_matches_no_layer_is_refused() -> None:
    with pytest.raises(InputError, match=r"'blocks_\*', which matches no layer; layers are for instance 0"):
        attach(two_layers(), AdapterSettings(layers=["blocks_*"]))


def test_patterns_choose_layers() -> None:
    network = two_layers()
    attach(network, AdapterSettings(layers=["1"]))
    assert sorted(adapter_tensors(network.state_dict())) == ["1.down", "1.up"]
    with pytest.raises(InputError, match="has an adapter already"):
        attach(network, AdapterSettings())


def test_the_first_values_follow_from_seed_and_layer() -> None:
    def values(seed: int, layers: list[str]) -> dict[str, Tensor]:
        network = two_layers()
        attach(network, AdapterSettings(seed=seed, layers=layers))
        return adapter_tensors(network.state_dict())

    assert torch.equal(values(0, ["*"])["1.down"], values(0, ["1"])["1.down"])
    assert not torch.equal(values(0, ["*"])["1.down"], values(1, ["*"])["1.down"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "ia3"}, "adapter.method is ia3"),
        ({"rank": 0}, "adapter.rank is 0"),
        ({"alpha": float("nan")}, "adapter.alpha is nan"),
        ({"layers": []}, "adapter.layers is not a list"),
        ({"layers": "blocks_*"}, "adapter.layers is not a list"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AdapterSettings(**settings)
