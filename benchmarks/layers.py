"""The CPU layers of the U-Net beside PyTorch's own layers, in the same network with the same weights.

``python -m benchmarks.layers`` prints a table by kind of layer: the time of the network in which that kind
alone is PyTorch's, divided by the time of the network as it is. Times are processor time of one thread, so
that other work on the machine counts less; the networks that are compared take turns.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from benchmarks.music import ROOT
from benchmarks.result import Result
from lightning_n2m.networks import convolution
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.convolution import Conv, Entry
from lightning_n2m.networks.norm import GroupNorm
from lightning_n2m.networks.resampling import Down, Up, equalise_phases
from lightning_n2m.networks.unet import UNet1d

# Recipes, with clips of a batch and steps of a clip.
RECIPES = {
    "starter/super_resolution": (4, 24_576),
    "starter/spectrogram_vocoder": (4, 15_360),
    "starter/spectrogram_generator": (4, 512),
    "paper/super_resolution": (1, 8192),
}
ROUNDS = 5
TARGET = 1.15  # below it a layer is not worth its code
TOKENS = 16


@dataclass(frozen=True)
class Plain:
    """PyTorch's own layers in place of one kind of layer.

    Args:
        layers: Classes whose ``forward`` is replaced.
        forward: Makes the plain ``forward`` of a layer.
        patches: Functions that are replaced while the network runs: module, name, replacement.
    """

    layers: tuple[type[nn.Module], ...] = ()
    forward: Callable[[Any], Callable[..., Tensor]] | None = None
    patches: tuple[tuple[Any, str, Any], ...] = ()


def _convolution(layer: Any) -> Callable[..., Tensor]:
    base = nn.ConvTranspose1d if isinstance(layer, Up) else nn.Conv1d

    def forward(x: Tensor) -> Tensor:
        if not getattr(layer, "equal_phases", False):
            return base.forward(layer, x)
        weight = equalise_phases(layer.weight, layer.stride[0])
        return F.conv_transpose1d(x, weight, layer.bias, layer.stride, layer.padding, layer.output_padding)

    return forward


def _norm(layer: Any) -> Callable[..., Tensor]:
    def forward(x: Tensor, silu: bool = False) -> Tensor:
        y = nn.GroupNorm.forward(layer, x)
        return F.silu(y) if silu else y

    return forward


def _never(x: Tensor) -> bool:
    return False


KINDS = {
    "im2col weight gradient": Plain(patches=((convolution, "uses_im2col_gradient", _never),)),
    "entry as a matrix product": Plain((Entry,), lambda layer: lambda x: Conv.forward(layer, x)),
    "channels-last convolution": Plain((Conv, Down, Entry, Up), _convolution),
    "group norm": Plain((GroupNorm,), _norm),
}


class Contender:
    """A network of a recipe, some of whose layers are PyTorch's own."""

    def __init__(self, network: UNet1d, inputs: Sequence[Any], kinds: Iterable[Plain], bf16: bool) -> None:
        self.network, self.inputs, self.bf16 = copy.deepcopy(network), inputs, bf16
        self.kinds = list(kinds)
        # A later kind replaces what an earlier one did to the same layer.
        for kind in self.kinds:
            for module in self.network.modules():
                if kind.forward is not None and isinstance(module, kind.layers):
                    module.forward = kind.forward(module)

    def output(self) -> Tensor:
        """The output ``(b, channels, t)``."""
        with ExitStack() as stack:
            for kind in self.kinds:
                for module, name, replacement in kind.patches:
                    stack.enter_context(mock.patch.object(module, name, replacement))
            stack.enter_context(torch.autocast("cpu", torch.bfloat16) if self.bf16 else nullcontext())
            return self.network(*self.inputs)

    def seconds(self) -> tuple[float, float]:
        """Processor time of a forward pass without gradients, and of forward and backward pass."""
        began = time.process_time()
        with torch.no_grad():
            self.output()
        forward = time.process_time() - began
        began = time.process_time()
        self.output().float().square().mean().backward()
        return forward, time.process_time() - began


def build(recipe: str, clips: int, steps: int) -> tuple[UNet1d, Sequence[Any]]:
    """Network of a recipe and random inputs: x_t, times, conditions."""
    config = yaml.safe_load((ROOT / "configs" / f"{recipe}.yaml").read_text(encoding="utf-8"))
    settings = config["model"]["init_args"]["network"]["init_args"]
    torch.manual_seed(0)
    network = UNet1d(**settings)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    text = settings.get("text_channels")
    aligned = settings.get("aligned_channels", 0)
    stacked = settings.get("stacked_channels", 0)
    conditions = Conditions(
        text=torch.randn(clips, TOKENS, text) if text else None,
        text_mask=torch.ones(clips, TOKENS, dtype=torch.bool) if text else None,
        stacked=torch.randn(clips, stacked, steps) if stacked else None,
        aligned=torch.randn(clips, aligned, steps // network.total_stride) if aligned else None,
        level=torch.rand(clips),
    )
    return network, (torch.randn(clips, network.channels, steps), torch.rand(clips), conditions)


def times(contenders: Sequence[Contender], rounds: int = ROUNDS) -> list[tuple[float, float]]:
    """Median seconds of each contender's passes; the first round is not counted."""
    measured: list[list[tuple[float, float]]] = [[] for _ in contenders]
    for _ in range(1 + rounds):
        for contender, seconds in zip(contenders, measured, strict=True):
            seconds.append(contender.seconds())
    columns = [list(zip(*seconds[1:], strict=True)) for seconds in measured]
    return [(statistics.median(forward), statistics.median(both)) for forward, both in columns]


def measure() -> Iterable[Result]:
    torch.set_num_threads(1)
    peer = f"layers of PyTorch {version('torch').partition('+')[0]}"
    for recipe, (clips, steps) in RECIPES.items():
        network, inputs = build(recipe, clips, steps)
        for bf16 in (False, True):
            own = Contender(network, inputs, (), bf16)
            plain = Contender(network, inputs, KINDS.values(), bf16)
            for name, seconds, other in zip(
                ("forward", "forward and backward"), *times([own, plain]), strict=True
            ):
                yield Result(
                    f"layers: {name} pass of {recipe}, {'bf16' if bf16 else 'fp32'}",
                    seconds,
                    other,
                    peer,
                    "s",
                    target=TARGET,
                    higher_is_better=False,
                )


def table_by_kind(recipes: Iterable[str], bf16: bool) -> str:
    """Markdown rows: time with one kind of layer PyTorch's own over the time of the network as it is."""
    lines = []
    for recipe in recipes:
        network, inputs = build(recipe, *RECIPES[recipe])
        kinds = {"all of them": list(KINDS.values())} | {name: [kind] for name, kind in KINDS.items()}
        contenders = [Contender(network, inputs, chosen, bf16) for chosen in ([], *kinds.values())]
        (forward, both), *others = times(contenders)
        for name, (other_forward, other_both) in zip(kinds, others, strict=True):
            lines.append(
                f"| {recipe} | {'bf16' if bf16 else 'fp32'} | {name} | {other_forward / forward:.2f} "
                f"| {other_both / both:.2f} |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for precision in (False, True):
        table_by_kind(sys.argv[1:] or RECIPES, precision)
