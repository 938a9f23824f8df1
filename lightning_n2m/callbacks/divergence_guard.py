"""What to do when a loss is no number or explodes."""

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
    """Looks at every optimiser step before it is taken, on all ranks alike.

    A step whose loss or gradient is no finite number, or whose loss is far above what it was, is not
    taken. What caused it is written to ``failures/step-STEP-rank-RANK.json`` in the run's folder: the keys,
    sample numbers, captions, diffusion times and losses of its clips.

    Args:
        action: End the training, or pass over the step and go on; ``off`` watches nothing and spares one
            synchronisation a step.
        factor: A loss is far above when it exceeds the median of the last losses so many times.
        window: Number of last losses; none is called too high before there are so many.
        patience: End the training after so many steps passed over in a row: it will not recover.
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
        """Judge the step that is about to be taken.

        Raises:
            TrainingFailure: if it fails and the action is to stop, or patience is at its end.
        """
        if self.action == "off" or not isinstance(pl_module, Stage):
            return
        # Of all ranks, so that they decide as one; gradients are equal or summed already.
        losses = torch.cat([drawn.weighted for drawn in pl_module.drawn])
        mean = trainer.strategy.reduce(losses.mean(), reduce_op="mean")
        loss, norm = torch.stack([mean, pl_module.gradient_norm()]).tolist()
        reason = self._judge(loss, norm)
        if reason is None:
            self._losses.append(loss)
            self._in_a_row = 0
            return
        step = trainer.global_step + 1
        path = self._keep(trainer, pl_module, step, reason)
        self._skipped += 1
        self._in_a_row += 1
        if self.action == "stop":
            raise TrainingFailure(
                f"At step {step} {reason}; {path} names its clips. Look at them, lower the learning rate, or "
                "pass over such steps with --divergence.action skip; --ckpt_path last goes on."
            )
        if self._in_a_row > self.patience:
            raise TrainingFailure(
                f"{self._in_a_row} steps in a row failed, the last at step {step}, where {reason}; go back "
                "to an earlier checkpoint and lower the learning rate."
            )
        # Without gradients Adam leaves weights and moments as they are.
        pl_module.network.zero_grad(set_to_none=True)
        for logger in trainer.loggers:
            logger.log_metrics({"train/skipped_steps": self._skipped}, step=step)

    def _judge(self, loss: float, norm: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the norm of the gradient is {norm}"
        if len(self._losses) == self._losses.maxlen:
            usual = statistics.median(self._losses)
            if loss > self.factor * usual:
                return f"the loss is {loss:.4g}, far above the usual {usual:.4g}"
        return None

    @staticmethod
    def _keep(trainer: pl.Trainer, stage: Stage, step: int, reason: str) -> Path:
        clips = [
            {"key": key, "number": number, "caption": caption, "time": time, "loss": _plain(loss)}
            for drawn in stage.drawn
            for key, number, caption, time, loss in zip(
                drawn.batch["key"],
                drawn.batch["number"].tolist(),
                drawn.batch["caption"],
                drawn.times.tolist(),
                drawn.weighted.tolist(),
                strict=True,
            )
        ]
        record = {"step": step, "rank": trainer.global_rank, "reason": reason, "clips": clips}
        path = Path(trainer.default_root_dir) / FOLDER / f"step-{step:08d}-rank-{trainer.global_rank}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        return path

    def state_dict(self) -> dict[str, Any]:
        """What the judgement rests on: a resumed run judges the same."""
        return {"losses": list(self._losses), "skipped": self._skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._losses.clear()
        self._losses.extend(state_dict["losses"])
        self._skipped, self._in_a_row = state_dict["skipped"], state_dict["in_a_row"]


def _plain(number: float) -> float | str:
    """A number as JSON can hold it."""
    return number if math.isfinite(number) else str(number)
