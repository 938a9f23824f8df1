"""Stops a training, or skips a step, when a loss is NaN or infinite or far above its usual value."""

from __future__ import annotations

import json
import math
import statistics
from collections import deque
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from lightning_n2m.errors import TrainingFailure
from lightning_n2m.stages.base import Stage
from lightning_n2m.storage import write_atomic

FOLDER = "failures"


class DivergenceGuard(Callback):
    """Checks every optimiser step before the weights change; all ranks decide alike.

    A step fails if its loss or gradient is NaN or infinite, or if its loss is far above the recent median.
    The clips of a failed step are written to ``failures/step-STEP-rank-RANK.json`` in the run's folder, with
    keys, sample numbers, captions, diffusion times and losses.

    Args:
        action: ``stop`` ends the training, ``skip`` drops the step, ``off`` checks nothing and saves one
            synchronisation a step.
        factor: Multiple of the median of the last losses above which a loss fails.
        window: Number of last losses for the median; before that, only NaN and infinity fail.
        patience: Number of failed steps in a row after which ``skip`` ends the training too.
    """

    def __init__(
        self,
        action: Literal["stop", "skip", "off"] = "stop",
        factor: float = 20.0,
        window: int = 100,
        patience: int = 20,
    ) -> None:
        self.action, self.factor, self.patience = action, factor, patience
        self._losses: deque[float] = deque(maxlen=window)
        self._skipped = self._in_a_row = 0

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Check the step that is about to be taken.

        Raises:
            TrainingFailure: if it fails and the action is ``stop``, or too many failed in a row.
        """
        if self.action == "off" or not isinstance(pl_module, Stage):
            return
        # The mean over all ranks, so that they decide alike; gradients are reduced already.
        losses = torch.cat([record.weighted for record in pl_module.batch_losses])
        mean = trainer.strategy.reduce(losses.mean(), reduce_op="mean")
        loss, norm = torch.stack([mean, pl_module.gradient_norm()]).tolist()
        reason = self._failure(loss, norm)
        if reason is None:
            self._losses.append(loss)
            self._in_a_row = 0
            return
        step = trainer.global_step + 1
        path = self._write_record(trainer, pl_module, step, reason)
        self._skipped += 1
        self._in_a_row += 1
        if self.action == "stop":
            raise TrainingFailure(
                f"At step {step} {reason}; {path} names its clips. Check them, lower the learning rate, or "
                "skip such steps with --divergence.action skip; --ckpt_path last resumes."
            )
        if self._in_a_row > self.patience:
            raise TrainingFailure(
                f"{self._in_a_row} steps in a row failed, the last at step {step}, where {reason}; resume "
                "from an earlier checkpoint and lower the learning rate."
            )
        # Without gradients Adam leaves weights and moments as they are.
        pl_module.network.zero_grad(set_to_none=True)
        for logger in trainer.loggers:
            logger.log_metrics({"train/skipped_steps": self._skipped}, step=step)

    def _failure(self, loss: float, norm: float) -> str | None:
        """Reason why the step fails; none if it does not."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the norm of the gradient is {norm}"
        if len(self._losses) == self._losses.maxlen:
            median = statistics.median(self._losses)
            if loss > self.factor * median:
                return f"the loss is {loss:.4g}, far above the median {median:.4g}"
        return None

    @staticmethod
    def _write_record(trainer: pl.Trainer, stage: Stage, step: int, reason: str) -> Path:
        """Write the clips of a failed step of this rank."""
        clips = [
            {"key": key, "number": number, "caption": caption, "time": time, "loss": _json_number(loss)}
            for record in stage.batch_losses
            for key, number, caption, time, loss in zip(
                record.batch["key"],
                record.batch["number"].tolist(),
                record.batch["caption"],
                record.times.tolist(),
                record.weighted.tolist(),
                strict=True,
            )
        ]
        failure = {"step": step, "rank": trainer.global_rank, "reason": reason, "clips": clips}
        path = Path(trainer.default_root_dir) / FOLDER / f"step-{step:08d}-rank-{trainer.global_rank}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(failure, ensure_ascii=False, indent=1) + "\n")
        return path

    def state_dict(self) -> dict[str, Any]:
        """Losses and counts on which decisions depend: a resumed run decides the same."""
        return {"losses": list(self._losses), "skipped": self._skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore losses and counts."""
        self._losses.clear()
        self._losses.extend(state_dict["losses"])
        self._skipped, self._in_a_row = state_dict["skipped"], state_dict["in_a_row"]


def _json_number(number: float) -> float | str:
    """The number itself, or a string for NaN and infinity, which JSON lacks."""
    return number if math.isfinite(number) else str(number)
