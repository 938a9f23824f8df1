"""Parameters, operations and peak memory of a training step, counted on the ``meta`` device.

Only shapes are computed: no weight exists.
"""

from __future__ import annotations

import dataclasses
import math
import re
import weakref
from collections import defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from lightning_n2m.networks.blocks import Block
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.stages.base import Stage

REST = "entry, exit, time"


@dataclass(frozen=True)
class ActivationMemory:
    """Peak memory of a training step in bytes, without weights and gradients.

    Args:
        per_clip: Activations of each clip.
        fixed: Part that does not depend on the number of clips, mostly 16-bit copies of the weights.
    """

    per_clip: int
    fixed: int


@dataclass(frozen=True)
class StepCost:
    """Forward and backward pass of one clip.

    Args:
        parameters: Number of parameters by part of the network.
        flops: Floating-point operations by part, a multiply-add being two, as PyTorch counts.
        forward_flops: Operations of the forward pass alone.
        recomputed_flops: Additional operations where activation checkpointing recomputes the blocks.
        activations: Peak activation memory.
        checkpointed_activations: The same with activation checkpointing.
    """

    parameters: dict[str, int]
    flops: dict[str, int]
    forward_flops: int
    recomputed_flops: int
    activations: ActivationMemory
    checkpointed_activations: ActivationMemory


def step_cost(stage: Stage, mixed: bool) -> StepCost:
    """Count a training step of one clip.

    Args:
        stage: A stage on the ``meta`` device.
        mixed: Whether 16-bit mixed precision is in use.
    """
    network = stage.network
    parameters: dict[str, int] = defaultdict(int)
    for name, parameter in network.named_parameters():
        parameters[_part(name)] += parameter.numel()
    flops, forward_flops, recomputed = _flops(stage, parameters)
    return StepCost(
        dict(parameters),
        flops,
        forward_flops,
        recomputed,
        activations=_activation_memory(stage, mixed, checkpointing=False),
        checkpointed_activations=_activation_memory(stage, mixed, checkpointing=True),
    )


def _activation_memory(stage: Stage, mixed: bool, checkpointing: bool) -> ActivationMemory:
    """Peak memory is linear in the number of clips: two batch sizes give slope and offset."""
    small_batch, large_batch = 1, 3
    small_peak = _peak_bytes(stage, small_batch, mixed, checkpointing)
    large_peak = _peak_bytes(stage, large_batch, mixed, checkpointing)
    per_clip = (large_peak - small_peak) // (large_batch - small_batch)
    return ActivationMemory(per_clip, max(0, small_peak - small_batch * per_clip))


def _step(stage: Stage, clips: int = 1) -> None:
    """Forward and, where gradients are on, backward pass."""
    network = stage.network
    with torch.device("meta"):
        x = torch.empty(clips, network.channels, round(stage.seconds * stage.output_rate))
        t = torch.empty(clips)
        output = network(x, t, _meta_conditions(stage, clips, x.shape[-1]))
        if torch.is_grad_enabled():
            stage.objective.loss(lambda *_: output, x, t, x).weighted.mean().backward()


def _flops(stage: Stage, parts: Iterable[str]) -> tuple[dict[str, int], int, int]:
    """Operations by part, those of one forward pass, and those of its blocks."""
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        _step(stage)
    with FlopCounterMode(display=False) as whole:
        _step(stage)
    stage.network.zero_grad(set_to_none=True)
    counted = {
        name.removeprefix(f"{type(stage.network).__name__}."): sum(operations.values())
        for name, operations in forward.get_flop_counts().items()
    }
    blocks = {
        name: counted[name]
        for name, module in stage.network.named_modules()
        if isinstance(module, Block) and name in counted
    }
    # FlopCounterMode does not attribute the backward pass to modules. It is split in the proportions of the
    # forward pass: each layer's backward pass costs the same multiple of its forward pass.
    by_part = dict.fromkeys(parts, 0)
    for name in counted:
        if name in blocks or re.fullmatch(r"(downs|ups)\.\d+", name):
            by_part[_part(name)] += counted[name]
    by_part[REST] = forward.get_total_flops() - sum(by_part.values())
    factor = whole.get_total_flops() / forward.get_total_flops()
    by_part = {part: round(factor * number) for part, number in by_part.items()}
    return by_part, forward.get_total_flops(), sum(blocks.values())


def _peak_bytes(stage: Stage, clips: int, mixed: bool, checkpointing: bool) -> int:
    """Peak memory of a step without weights and gradients."""
    network, live = stage.network, AllocatedBytes()
    for parameter in network.parameters():
        parameter.grad = torch.empty_like(parameter)
        live.exclude(parameter, parameter.grad)
    cast = MetaAutocast() if mixed else None
    # A function mode is not active where the backward pass recomputes a block, so each block enters it.
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    hooks = [hook for block in blocks for hook in cast.on(block)] if cast else []
    before, network.checkpointing = network.checkpointing, checkpointing
    try:
        with live, cast or nullcontext():
            _step(stage, clips)
    finally:
        network.checkpointing = before
        network.zero_grad(set_to_none=True)
        for hook in hooks:
            hook.remove()
    return live.peak


def _meta_conditions(stage: Stage, clips: int, length: int) -> Conditions:
    """Conditions of the right shapes, without values."""
    network, conditions = stage.network, Conditions()
    if stage.conditioner is not None:
        stacked = network.entry.in_channels - network.channels
        frames = math.ceil(length / network.total_stride)
        conditions = Conditions(
            stacked=torch.empty(clips, stacked, length) if stacked else None,
            aligned=torch.empty(clips, network.aligned.in_channels, frames) if network.aligned else None,
            level=torch.empty(clips),
        )
    if network.known is not None:
        known = torch.empty(clips, network.known.in_channels, length)
        conditions = dataclasses.replace(conditions, known=known)
    if stage.text is not None:
        assert network.text_channels is not None
        states = torch.empty(clips, stage.text.max_tokens, network.text_channels)
        conditions = conditions.with_text(states, torch.empty(states.shape[:2], dtype=torch.bool))
    return conditions


def _part(name: str) -> str:
    """Name of the U-Net's part that holds a module or parameter."""
    match = re.match(r"(downs|blocks_down|ups|blocks_up)\.(\d+)", name)
    if match is None:
        return REST
    return f"level {int(match.group(2)) + 1} {'down' if 'down' in match.group(1) else 'up'}"


class AllocatedBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operations allocate, until they are freed.

    Attributes:
        now: Bytes that are allocated at present.
        peak: Largest value of `now`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def exclude(self, *tensors: Tensor) -> None:
        """Do not count the storages of these tensors."""
        self._known.update(tensor.untyped_storage() for tensor in tensors)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the storages that an operation returns, unless they are known already."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in self._known:
                storage = tensor.untyped_storage()
                self._known.add(storage)
                weakref.finalize(storage, self._freed, storage.nbytes())
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
        return result

    def _freed(self, size: int) -> None:
        self.now -= size


class MetaAutocast(TorchFunctionMode):
    """CUDA's autocast to 16 bits for the U-Net on the ``meta`` device, which has no autocast."""

    NARROW = frozenset({F.conv2d, F.conv_transpose2d, F.linear, F.scaled_dot_product_attention})
    WIDE = frozenset({F.layer_norm})

    def __init__(self) -> None:
        super().__init__()
        self._weights: dict[int, Tensor] = {}  # cast once, as autocast does

    def on(self, module: nn.Module) -> list[RemovableHandle]:
        """Enter the mode whenever a module runs, until the hooks are removed."""

        def enter(*_: Any) -> None:
            self.__enter__()

        def leave(*_: Any) -> None:
            self.__exit__(None, None, None)

        return [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, always_call=True),
        ]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Cast the inputs of an operation."""
        if func in self.NARROW or func in self.WIDE:
            narrow = func in self.NARROW

            def cast(value: Any) -> Any:
                if not isinstance(value, Tensor) or not value.is_floating_point():
                    return value
                if not narrow:
                    return value.float()
                if not value.is_leaf or not value.requires_grad:
                    return value.bfloat16()
                if id(value) not in self._weights:
                    self._weights[id(value)] = value.bfloat16()
                return self._weights[id(value)]

            args, kwargs = tree_map(cast, args), tree_map(cast, kwargs or {})
        return func(*args, **(kwargs or {}))
