"""Low-rank adapters of a network: LoRA (Hu et al. 2022) and DoRA (Liu et al. 2024).

The layers of the network keep their classes and the names of their parameters. An adapter is a submodule of
its layer, so that FSDP2 gathers both together, and a forward hook adds its output to that of the layer.

With base weight ``W`` of the layer, factors ``up`` and ``down`` of rank r, and ``D = alpha / r up down``:

- LoRA computes with ``W + D``.
- DoRA computes with ``m * (W + D) / |W + D|``: the norm runs over all numbers of an output channel, and the
  magnitudes ``m`` are trained. As in section 4.3 of its paper, no gradient flows into the norm.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.errors import InputError, check_range
from lightning_n2m.networks.convolution import Geometry, convolve
from lightning_n2m.networks.resampling import Up
from lightning_n2m.seeding import derive_seed

Method = Literal["lora", "dora"]
METHODS = ("lora", "dora")
MAX_RANK = 4096
NAME = "adapter"  # of the submodule of a layer
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, Up)


@dataclass(frozen=True)
class AdapterSettings:
    """Form of an adapter.

    Args:
        method: ``lora``, or ``dora``, which trains the norm of each output channel as well.
        rank: Rank of the change of a weight.
        alpha: The change is multiplied by ``alpha / rank``.
        layers: Patterns of the names of linear and convolutional layers, such as ``blocks_*.conv_*``;
            ``*`` also matches dots. A layer that any of them matches gets an adapter.
        seed: Seed of the first values.

    Raises:
        InputError: if a number is out of range, the method is unknown, or there is no pattern.
    """

    method: Method = "lora"
    rank: int = 4
    alpha: float = 4.0
    layers: Sequence[str] = ("*",)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.method not in METHODS:
            raise InputError(f"adapter.method is {self.method}; give one of {', '.join(METHODS)}.")
        check_range("adapter.rank", self.rank, 1, MAX_RANK)
        check_range("adapter.alpha", self.alpha, 1e-6, 1e6)
        if isinstance(self.layers, str) or not self.layers:
            raise InputError("adapter.layers is not a list of patterns; give for instance ['blocks_*'].")
        object.__setattr__(self, "layers", tuple(self.layers))

    @property
    def scale(self) -> float:
        """Factor of the change of a weight."""
        return self.alpha / self.rank


class LowRank(nn.Module):
    """Adapter of one layer.

    A new adapter changes nothing: one of its factors is zero, and the magnitudes are those of the layer.

    Args:
        layer: The layer: linear, a convolution, or an `Up`.
        settings: Form of the adapter.
        generator: Source of the first values.
    """

    def __init__(self, layer: nn.Module, settings: AdapterSettings, generator: torch.Generator) -> None:
        super().__init__()
        weight = _weight(layer)
        shapes = factor_shapes(layer, settings)
        # The bound of PyTorch's own linear layers, 1 / sqrt(fan in), is that of LoRA's first factor.
        fan_in = weight.numel() // _channels(layer)[1] if not isinstance(layer, Up) else weight.shape[0]
        down = torch.empty(shapes["down"]).uniform_(-1, 1, generator=generator) / math.sqrt(fan_in)
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(torch.zeros(shapes["up"], device=weight.device))
        self.magnitude = (
            nn.Parameter(_channel_norm(layer, weight.detach())) if settings.method == "dora" else None
        )
        self.scale = settings.scale

    def forward(self, layer: nn.Module, x: Tensor, output: Tensor) -> Tensor:
        """Output of the layer with its adapter.

        Args:
            layer: The layer.
            x: Its input.
            output: Its output without the adapter.
        """
        change = self._change(layer, x).to(output.dtype) * self.scale
        if self.magnitude is None:
            return output + change
        # |W + D| per output channel, outside the graph.
        with torch.no_grad():
            weight = _weight(layer).float()
            norm = _channel_norm(layer, weight + _product(layer, self.down, self.up) * self.scale)
        # Along the channels of the output: the last axis of a linear layer, the second of a convolution.
        axes = (-1,) if isinstance(layer, nn.Linear) else (-1, *(1,) * (output.dim() - 2))
        ratio = (self.magnitude / norm).to(output.dtype).view(axes)
        bias: Any = layer.bias
        if bias is None:
            return (output + change) * ratio
        shift = bias.to(output.dtype).view(axes)
        return (output - shift + change) * ratio + shift

    def _change(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The layer's linear map with ``up down`` in the place of its weight: first to ``rank`` channels."""
        if isinstance(layer, nn.Linear):
            return F.linear(F.linear(x, self.down), self.up)
        if isinstance(layer, Up):
            narrow = F.linear(x.transpose(1, 2), self.down).transpose(1, 2)
            return layer.raise_rate(narrow, self.up, None)
        assert isinstance(layer, nn.Conv1d | nn.Conv2d)
        stride, dilation = int(layer.stride[-1]), int(layer.dilation[-1])
        if isinstance(layer, nn.Conv2d):
            geometry = Geometry(stride, (int(layer.padding[0]), int(layer.padding[1])), dilation)
            narrow = convolve(x, self.down, None, geometry)
            return F.conv2d(narrow, self.up[:, :, None, None])
        geometry = Geometry(stride, (0, int(layer.padding[0])), dilation)
        narrow = convolve(x.unsqueeze(2), self.down.unsqueeze(2), None, geometry).squeeze(2)
        return F.linear(narrow.transpose(1, 2), self.up).transpose(1, 2)


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def _channels(layer: nn.Module) -> tuple[int, int]:
    """Channels of input and output."""
    first, second = _weight(layer).shape[:2]
    return (first, second) if isinstance(layer, Up) else (second, first)


def factor_shapes(layer: nn.Module, settings: AdapterSettings) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a layer's adapter.

    The kernel is part of ``down`` for a convolution, and of ``up`` for a transposed convolution.
    """
    c_in, c_out = _channels(layer)
    kernel = tuple(_weight(layer).shape[2:])
    if isinstance(layer, Up):
        shapes: dict[str, tuple[int, ...]] = {
            "down": (settings.rank, c_in),
            "up": (settings.rank, c_out, *kernel),
        }
    else:
        shapes = {"down": (settings.rank, c_in, *kernel), "up": (c_out, settings.rank)}
    if settings.method == "dora":
        shapes["magnitude"] = (c_out,)
    return shapes


def _product(layer: nn.Module, down: Tensor, up: Tensor) -> Tensor:
    """``up down`` in the shape of the layer's weight."""
    if isinstance(layer, Up):
        return (down.mT @ up.flatten(1)).view(_weight(layer).shape)
    return (up @ down.flatten(1)).view(_weight(layer).shape)


def _channel_norm(layer: nn.Module, weight: Tensor) -> Tensor:
    """Norm of all numbers that compute an output channel, ``(c_out,)``."""
    rows = weight.transpose(0, 1) if isinstance(layer, Up) else weight
    # A channel whose weights are all zero has no direction; its ratio stays finite.
    return rows.flatten(1).norm(dim=1).clamp(min=1e-12)


def adaptable_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Layers that can have an adapter, by name."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, _LAYERS)}


def choose_layers(network: nn.Module, patterns: Iterable[str]) -> dict[str, nn.Module]:
    """Layers of a network that patterns match.

    Raises:
        InputError: if a pattern matches no layer.
    """
    layers = adaptable_layers(network)
    chosen: set[str] = set()
    for pattern in patterns:
        matches = fnmatch.filter(layers, pattern)
        if not matches:
            raise InputError(
                f"adapter.layers holds '{pattern}', which matches no layer; layers are for instance "
                f"{', '.join(list(layers)[:: max(1, len(layers) // 5)])}."
            )
        chosen.update(matches)
    return {name: layer for name, layer in layers.items() if name in chosen}


def attach(network: nn.Module, settings: AdapterSettings) -> None:
    """Freeze a network and give its layers adapters, which are all that trains.

    The first values follow from the seed and the layer's name.

    Args:
        network: The network, changed in place.
        settings: Form of the adapters.

    Raises:
        InputError: if a pattern matches no layer, or the network has adapters already.
    """
    if has_adapters(network):
        raise InputError("The network has an adapter already; merge it into a bundle of its own first.")
    layers = choose_layers(network, settings.layers)
    network.requires_grad_(False)
    for name, layer in layers.items():
        generator = torch.Generator().manual_seed(derive_seed(f"{settings.seed} adapter {name}"))
        layer.add_module(NAME, LowRank(layer, settings, generator))
        layer.register_forward_hook(_add_adapter)


def _add_adapter(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    """Forward hook. A function of the module, so that copies of the layer use the adapter of the copy."""
    result: Tensor = layer.get_submodule(NAME)(layer, args[0], output)
    return result


def has_adapters(network: nn.Module) -> bool:
    """Whether any layer of a network has an adapter."""
    return any(isinstance(module, LowRank) for module in network.modules())


def is_adapter_key(name: str) -> bool:
    """Whether a name in a state dict is that of a tensor of an adapter."""
    return name.split(".")[-2:-1] == [NAME]


def adapter_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of adapters in a state dict, named by layer: ``blocks_up.0.1.conv_1.down``."""
    return {name.replace(f".{NAME}.", "."): tensor for name, tensor in state.items() if is_adapter_key(name)}


def expected_shapes(network: nn.Module, settings: AdapterSettings) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of an adapter, named as `adapter_tensors` does.

    Raises:
        InputError: if a pattern matches no layer.
    """
    return {
        f"{name}.{part}": shape
        for name, layer in choose_layers(network, settings.layers).items()
        for part, shape in factor_shapes(layer, settings).items()
    }


@dataclass(frozen=True, eq=False)
class WeightedAdapter:
    """An adapter with the strength at which it is used.

    Args:
        settings: Form of the adapter.
        tensors: Its tensors, named as `adapter_tensors` does.
        strength: 0 leaves the network as it is, 1 is the adapter as trained. The change of the weights is
            proportional to it, for DoRA as well.
        digest: Hash of the tensors; sums are computed in its order.
    """

    settings: AdapterSettings
    tensors: Mapping[str, Tensor]
    strength: float
    digest: str


@torch.no_grad()
def merge(network: nn.Module, adapters: Sequence[WeightedAdapter]) -> None:
    """Add adapters to the weights of a network, in place.

    ``W + sum of strength * (W' - W)``, with the weight ``W'`` of one adapter. Sums are in float64, in an
    order that does not depend on that of the arguments. A strength of zero leaves every bit of a weight.

    Args:
        network: The network that the adapters were trained on, without adapters of its own.
        adapters: The adapters.
    """
    ordered = sorted(adapters, key=lambda adapter: (adapter.digest, adapter.strength))
    changes: dict[str, Tensor] = {}
    layers = adaptable_layers(network)
    for adapter in ordered:
        if adapter.strength == 0:
            continue
        for name in choose_layers(network, adapter.settings.layers):
            change = weight_change(layers[name], adapter.settings, _tensors_of(name, adapter.tensors))
            changes[name] = changes.get(name, 0) + adapter.strength * change
    for name, change in changes.items():
        weight = _weight(layers[name])
        weight.copy_(weight.double() + change)


def _tensors_of(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = ("down", "up", "magnitude")
    return {part: tensors[f"{name}.{part}"] for part in parts if f"{name}.{part}" in tensors}


def weight_change(layer: nn.Module, settings: AdapterSettings, tensors: Mapping[str, Tensor]) -> Tensor:
    """``W' - W`` of a layer in float64.

    Args:
        layer: The layer, with its base weight ``W``.
        settings: Form of the adapter.
        tensors: ``down``, ``up`` and, for DoRA, ``magnitude``.
    """
    weight = _weight(layer).double()
    change = _product(layer, tensors["down"].double(), tensors["up"].double()) * settings.scale
    if settings.method == "lora":
        return change
    ratio = tensors["magnitude"].double() / _channel_norm(layer, weight + change)
    axis = 1 if isinstance(layer, Up) else 0
    shape = [-1 if i == axis else 1 for i in range(weight.dim())]
    return (weight + change) * ratio.view(shape) - weight


@torch.no_grad()
def factorise(
    network: nn.Module, weights: Mapping[str, Tensor], settings: AdapterSettings
) -> dict[str, Tensor]:
    """The LoRA adapter nearest to the difference between two trainings of a network.

    Each difference of weights is replaced by its best approximation of the rank, see `nearest_factors`.
    Tensors that no pattern matches, biases and norms stay those of the network.

    Args:
        network: The base.
        weights: State dict of the other training.
        settings: Form of the adapter, with ``method: lora``.

    Returns:
        Tensors of the adapter, named as `adapter_tensors` does.

    Raises:
        InputError: if the method is not LoRA, or a pattern matches no layer.
    """
    if settings.method != "lora":
        raise InputError("A difference of weights is stored as LoRA; set adapter.method to lora.")
    tensors: dict[str, Tensor] = {}
    for name, layer in choose_layers(network, settings.layers).items():
        difference = weights[f"{name}.weight"].double() - _weight(layer).double()
        shapes = factor_shapes(layer, settings)
        # As a matrix whose product up @ down has the kernel on the side of `factor_shapes`.
        matrix = difference.flatten(1)
        left, right = nearest_factors(matrix / settings.scale, settings.rank)
        missing = settings.rank - left.shape[1]
        left, right = F.pad(left, (0, missing)), F.pad(right, (0, 0, 0, missing))
        pair = {"down": left.mT, "up": right} if isinstance(layer, Up) else {"down": right, "up": left}
        for part, tensor in pair.items():
            tensors[f"{name}.{part}"] = tensor.reshape(shapes[part]).float().contiguous()
    return tensors


def nearest_factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors ``(m, r)`` and ``(r, n)`` whose product is the nearest matrix of rank r or less.

    Both have the same norm (Eckart and Young 1936).

    Args:
        matrix: Any matrix ``(m, n)``.
        rank: Largest r; m or n where that is less.
    """
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * v[:rank]
