"""Metrics of a training: losses and their expected band, gradient norm, speed, waiting time, memory."""

from __future__ import annotations

import bisect
import math
import resource
import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_n2m.callbacks.board import BEST_LOSS, EXPECTED_HIGH, EXPECTED_LOW, BoardLogger
from lightning_n2m.errors import check_range
from lightning_n2m.stages.base import BatchLosses, Stage

TIME_BUCKETS = 4
STATE = "curves"


class TrainMetrics(Callback):
    """Logs a point every ``trainer.log_every_n_steps`` optimiser steps, over all ranks.

    ``train/loss`` and, by quarter of the time axis, ``train/loss_t0`` to ``train/loss_t3`` (unweighted)
    are means over all clips since the last point. Also logged: learning rate, gradient norm,
    ``speed/clips_per_second``, ``speed/audio_seconds_per_second``, ``speed/waiting_for_data`` (share
    of the time) and ``memory/peak_gb`` (10^9 bytes: of the device, or on the CPU of the process).
    Time spent on validation does not count.

    After each validation ``best/val_loss`` is logged, and the edges of the band in which the recipe expects
    the loss to be; the tab CUSTOM SCALARS of TensorBoard shows the curve inside the band.

    Args:
        expected_loss: Validation losses that the recipe is known to reach, by optimiser step; between them
            the logarithm of the loss is interpolated over the logarithm of the step.
        expected_tolerance: Half the width of the band, as a share of the expected loss.
    """

    def __init__(
        self, expected_loss: dict[int, float] | None = None, expected_tolerance: float = 0.1
    ) -> None:
        for step, loss in (expected_loss or {}).items():
            check_range("train_metrics.expected_loss (step)", step, 1, 2**53)
            check_range(f"train_metrics.expected_loss.{step}", loss, 1e-12, 1e12)
        check_range("train_metrics.expected_tolerance", expected_tolerance, 0, 1)
        self.expected_loss, self.expected_tolerance = expected_loss or {}, expected_tolerance
        self.best_loss = math.inf
        self._sums: Tensor | None = None
        self._norm: Tensor | None = None
        self._clips = 0
        self._began = self._waited = self._paused = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and describe the chart of the expected loss."""
        self._restart(trainer)
        for logger in trainer.loggers if self.expected_loss else ():
            if isinstance(logger, BoardLogger):
                logger.log_loss_band()

    def _restart(self, trainer: pl.Trainer) -> None:
        self._clips, self._began, self._waited = 0, time.perf_counter(), _waited(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the clock."""
        self._began += time.perf_counter() - self._paused

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the best validation loss and the expected one, at the step that ``val/loss`` is logged at."""
        loss = trainer.callback_metrics.get("val/loss")
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or loss is None:
            return
        self.best_loss = min(self.best_loss, float(loss))
        points = {BEST_LOSS: self.best_loss}
        expected = self.expected(trainer.global_step)
        if expected is not None:
            points[EXPECTED_LOW] = (1 - self.expected_tolerance) * expected
            points[EXPECTED_HIGH] = (1 + self.expected_tolerance) * expected
        for tag, value in points.items():
            pl_module.log(tag, value, sync_dist=True)

    def expected(self, step: int) -> float | None:
        """Expected validation loss at a step; none before the first known one, constant after the last."""
        steps = sorted(self.expected_loss)
        if not steps or step < steps[0]:
            return None
        right = bisect.bisect_right(steps, step)
        low = steps[right - 1]
        if right == len(steps):
            return self.expected_loss[low]
        high = steps[right]
        share = math.log(step / low) / math.log(high / low)
        return self.expected_loss[low] ** (1 - share) * self.expected_loss[high] ** share

    def state_dict(self) -> dict[str, Any]:
        """The lowest validation loss."""
        return {"best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the lowest validation loss."""
        self.best_loss = state_dict.get("best_loss", math.inf)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Measure the gradient, before it is clipped."""
        if isinstance(pl_module, Stage) and (trainer.global_step + 1) % _interval(trainer) == 0:
            self._norm = pl_module.gradient_norm()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add up after each optimiser step; log every ``log_every_n_steps`` steps."""
        if not isinstance(pl_module, Stage) or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        sums = sum(_sums(losses) for losses in pl_module.batch_losses)
        assert isinstance(sums, Tensor)
        self._sums = sums if self._sums is None else self._sums + sums
        self._clips += sum(len(losses.times) for losses in pl_module.batch_losses)
        if trainer.global_step % _interval(trainer) == 0:
            self._log(trainer, pl_module)

    def _log(self, trainer: pl.Trainer, stage: Stage) -> None:
        assert self._sums is not None
        weighted, clips, *buckets = _over_ranks(trainer, self._sums).tolist()
        self._sums = None
        seconds = time.perf_counter() - self._began
        rate = self._clips * trainer.world_size / seconds
        points = {
            "train/loss": weighted / clips,
            "train/learning_rate": self._rate(trainer),
            "speed/clips_per_second": rate,
            "speed/audio_seconds_per_second": rate * stage.seconds,
            "speed/waiting_for_data": (_waited(trainer) - self._waited) / seconds,
            "memory/peak_gb": _peak_bytes(stage.device) / 1e9,
        }
        for i, (total, count) in enumerate(zip(buckets[:TIME_BUCKETS], buckets[TIME_BUCKETS:], strict=True)):
            if count:
                points[f"train/loss_t{i}"] = total / count
        if self._norm is not None:
            points["train/gradient_norm"] = float(self._norm)
        for logger in trainer.loggers:
            logger.log_metrics(points, step=trainer.global_step)
        self._restart(trainer)

    @staticmethod
    def _rate(trainer: pl.Trainer) -> float:
        """Learning rate of the last step; the schedule has advanced already."""
        scheduler: Any = trainer.lr_scheduler_configs[0].scheduler
        return scheduler.base_lrs[0] * scheduler.lr_lambdas[0](scheduler.last_epoch - 1)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the sums since the last point: a resumed run logs the same curves."""
        if self._sums is not None:
            checkpoint[STATE] = _over_ranks(trainer, self._sums).cpu()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the sums on one rank: they are sums over all ranks."""
        if STATE in checkpoint and trainer.is_global_zero:
            self._sums = checkpoint[STATE].to(pl_module.device)


def _sums(losses: BatchLosses) -> Tensor:
    """Weighted loss and number of clips, in total and then by time bucket (unweighted): ``(2 + 2 * 4,)``."""
    weighted, unweighted = losses.weighted, losses.unweighted
    bucket = (losses.times * TIME_BUCKETS).long().clamp(max=TIME_BUCKETS - 1)
    is_in_bucket = torch.nn.functional.one_hot(bucket, TIME_BUCKETS).to(unweighted.dtype)
    totals = torch.stack([weighted.sum(), weighted.new_tensor(len(weighted))])
    return torch.cat([totals, unweighted @ is_in_bucket, is_in_bucket.sum(0)])


def _over_ranks(trainer: pl.Trainer, sums: Tensor) -> Tensor:
    return trainer.strategy.reduce(sums.clone(), reduce_op="sum")


def _interval(trainer: pl.Trainer) -> int:
    return max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]


def _waited(trainer: pl.Trainer) -> float:
    """Seconds that training has waited for the loader."""
    return getattr(trainer.train_dataloader, "waited", 0.0)


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
