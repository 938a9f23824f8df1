"""Exponential moving average of the weights (section 4.1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.optim.swa_utils import AveragedModel


def _is_frozen(module: pl.LightningModule, parameter: Tensor) -> bool:
    """Whether a parameter belongs to the frozen base of an adapter."""
    return getattr(module, "adapter", None) is not None and not parameter.requires_grad


class _Trained:
    """Parameters and buffers of a module without the frozen base of an adapter."""

    def __init__(self, module: pl.LightningModule) -> None:
        self.module = module

    def parameters(self) -> Iterator[Tensor]:
        """The parameters that are trained."""
        return (p for p in self.module.parameters() if not _is_frozen(self.module, p))

    def buffers(self) -> Iterator[Tensor]:
        """All buffers."""
        return iter(self.module.buffers())


class _AverageOfTrained(AveragedModel):
    """Average of the parameters that are trained; the copy lacks the frozen ones."""

    def update_parameters(self, model: Any) -> None:
        """Update the average."""
        super().update_parameters(_Trained(model))  # type: ignore[arg-type]


@contextmanager
def _without_frozen(module: pl.LightningModule) -> Iterator[None]:
    """Remove the frozen base of an adapter while a module is copied: its average is itself."""
    frozen = [
        (part, name, parameter)
        for part in module.modules()
        for name, parameter in part._parameters.items()
        if parameter is not None and _is_frozen(module, parameter)
    ]
    for part, name, _ in frozen:
        part._parameters[name] = None
    try:
        yield
    finally:
        for part, name, parameter in frozen:
            part._parameters[name] = parameter


class Ema(WeightAveraging):
    """Averages the parameters, and only them, after every optimiser step.

    Lightning swaps the averaged weights in while validation runs; `SampleLogger` therefore generates
    there. Checkpoints hold the averaged weights as ``state_dict``.

    Args:
        decay: Decay of the average after warm-up (0.9999 in the paper).
        warmup: The decay is at most ``(1 + n) / (warmup + n)`` after n steps; otherwise the average of a
            short run would consist of its initial weights.
    """

    def __init__(self, decay: float = 0.9999, warmup: int = 10) -> None:
        self.decay, self.warmup = decay, warmup
        # Without buffers: averaging integer buffers corrupts them.
        super().__init__(use_buffers=False, multi_avg_fn=self._average)

    def _average(self, averaged: Any, current: Any, steps: Tensor | int) -> None:
        n = int(steps)
        decay = min(self.decay, (1 + n) / (self.warmup + n))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the module before training; the copy is sharded like the module itself."""
        if stage != "fit":
            return
        # Neither a mesh nor a sharded module can be copied, so the copy is made before sharding.
        mesh, pl_module._device_mesh = pl_module._device_mesh, None
        with _without_frozen(pl_module):
            self._average_model = _AverageOfTrained(
                pl_module, device=pl_module.device, multi_avg_fn=self._average, use_buffers=False
            )
        copied: Any = self._average_model.module
        pl_module._device_mesh = copied._device_mesh = mesh
        copied.configure_model()

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        """Exchange the values of the trained parameters with their averages."""
        for average, current in self._pairs(pl_module):
            before = average.data.clone()
            average.data.copy_(current.data)
            current.data.copy_(before)

    def _copy_average_to_current(self, pl_module: pl.LightningModule) -> None:
        """Replace the values of the trained parameters by their averages."""
        for average, current in self._pairs(pl_module):
            current.data.copy_(average.data)

    def _pairs(self, pl_module: pl.LightningModule) -> Iterator[tuple[Tensor, Tensor]]:
        """Each average with its parameter or buffer."""
        assert self._average_model is not None
        average: Any = self._average_model.module
        averages = itertools.chain(average.parameters(), average.buffers())
        current = _Trained(pl_module)
        return zip(averages, itertools.chain(current.parameters(), current.buffers()), strict=True)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save both sets of weights unsharded."""
        if self._average_model is not None:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
            if pl_module._device_mesh is not None:
                unsharded = StateDictOptions(full_state_dict=True, cpu_offload=True)
                checkpoint["state_dict"] = get_model_state_dict(self._average_model.module, options=unsharded)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average when training resumes; other commands use it as the weights."""
        if self._average_model is None:
            return
        if pl_module._device_mesh is None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
            return
        # The strategy has loaded ``state_dict``, which is the average, into the module itself.
        self._swap_models(pl_module)
        unsharded = StateDictOptions(full_state_dict=True)
        set_model_state_dict(pl_module, checkpoint["current_model_state"], options=unsharded)
        self._average_model.n_averaged.copy_(checkpoint["averaging_state"]["n_averaged"])
