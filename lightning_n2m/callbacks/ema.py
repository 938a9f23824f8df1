"""Exponential moving average of the weights (section 4.1)."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class Ema(WeightAveraging):
    """Averages the parameters, and only them, after every optimiser step.

    Lightning swaps the averaged weights in while validation runs; samples for listening must be drawn
    there (see `Listen`). Checkpoints hold the averaged weights as ``state_dict``.

    Args:
        decay: Decay of the average once it is warm (0.9999 in the paper).
        warmup: The decay is at most ``(1 + n) / (warmup + n)`` after n steps, or a short run would
            hear its initial weights.
    """

    def __init__(self, decay: float = 0.9999, warmup: int = 10) -> None:
        self.decay, self.warmup = decay, warmup
        # Without buffers: averaging integer buffers corrupts them.
        super().__init__(use_buffers=False, multi_avg_fn=self._average)

    def _average(self, averaged: Any, current: Any, steps: Tensor | int) -> None:
        done = int(steps)
        decay = min(self.decay, (1 + done) / (self.warmup + done))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average when training goes on; elsewhere the checkpoint's weights are the average."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
