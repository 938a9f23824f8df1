"""Exponential moving average of the weights (section 4.1)."""

from __future__ import annotations

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
        self._average_model = AveragedModel(
            pl_module, device=pl_module.device, multi_avg_fn=self._average, use_buffers=False
        )
        copied: Any = self._average_model.module
        pl_module._device_mesh = copied._device_mesh = mesh
        copied.configure_model()

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
