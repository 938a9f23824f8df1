"""Progress of a training in one line: a bar on a terminal, a line every 15 s elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, Timer

from lightning_n2m import heartbeat

WIDTH = 79  # columns of one line
REFRESH = 0.2  # seconds between two updates on a terminal
_LONGEST = 1e9  # seconds to an end that a date can show


class TrainingProgress(Callback):
    """Shows optimiser steps, speed, losses and the end time on standard error.

    Steps are optimiser steps of the whole run, so that accumulation and a resume show the right position.
    Validation and sample generation replace the speed while they last.

    Args:
        interval: Seconds between two lines if standard error is not a terminal.
    """

    def __init__(self, interval: float = 15.0) -> None:
        self.interval = interval
        self.is_enabled = True
        self._start_time = self._last_time = 0.0
        self._start_step = self._step = self._max_steps = 0
        self._loss: torch.Tensor | None = None
        self._validation_loss: float | None = None
        self._timer: Timer | None = None
        self._activity = ""
        self._pause = ExitStack()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock at the step from which a run resumes."""
        self._start_time = self._last_time = time.monotonic()
        self._start_step = self._step = trainer.global_step
        self._max_steps = trainer.max_steps
        timers = (callback for callback in trainer.callbacks if isinstance(callback, Timer))  # type: ignore[attr-defined]
        self._timer = next(timers, None)
        self.is_enabled = self.is_enabled and trainer.is_global_zero
        if self.is_enabled:
            parameters = sum(parameter.numel() for parameter in pl_module.parameters()) / 1e6
            print(
                f"Training {type(pl_module).__name__} ({parameters:.3g} M parameters) from step "
                f"{trainer.global_step:,} in {trainer.default_root_dir}.",
                file=sys.stderr,
                flush=True,
            )
            if sys.stderr.isatty():
                self._pause.enter_context(heartbeat.paused())
            else:
                heartbeat.set_line(self._repeated_line, self.interval)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update after an optimiser step."""
        self._step = trainer.global_step
        if isinstance(outputs, dict) and torch.is_tensor(outputs.get("loss")):
            # Lightning divides the loss of a batch by the number of accumulated batches. The value stays on
            # the device, for which a step does not wait, until a line shows it.
            self._loss = outputs["loss"].detach() * trainer.accumulate_grad_batches
        self.show(self._speed())

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the batch of the validation; the first one at once, as it may take long."""
        self.show(f"validation, batch {batch_idx + 1}", is_new=batch_idx == 0)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the validation loss."""
        if "val/loss" in trainer.callback_metrics:
            self._validation_loss = float(trainer.callback_metrics["val/loss"])

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the line."""
        self._end_line()
        self._end_heartbeat()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """End the line, so that an error message starts on a new one."""
        self._end_line()
        self._end_heartbeat()

    def show(self, activity: str, is_new: bool = False) -> None:
        """Show the position and what the training does at present, if an update is due.

        Args:
            activity: Speed, or a part of the training other than a step.
            is_new: It has just begun: a terminal shows it without delay.
        """
        self._activity = activity
        is_due = self._is_due() or (is_new and sys.stderr.isatty())
        if not self.is_enabled or not self._start_time or not is_due:
            return
        self._last_time = time.monotonic()
        line = self.line(activity)
        if sys.stderr.isatty():
            print("\r" + line.ljust(WIDTH), end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
            heartbeat.line_printed()

    def _repeated_line(self) -> str:
        """The line again, for a step or a validation batch that takes longer than the interval."""
        self._last_time = time.monotonic()
        return self.line(self._activity)

    def line(self, activity: str) -> str:
        """The line, at most 79 characters."""
        is_limited = self._max_steps > 0
        position = f"step {self._step:,}" + (f"/{self._max_steps:,}" if is_limited else "")
        share = f" ({self._step / self._max_steps:.0%})" if is_limited else ""
        loss = "" if self._loss is None else f"loss {float(self._loss):.4g}"
        validation = "" if self._validation_loss is None else f"val {self._validation_loss:.4g}"
        end = self._end()
        # On a long training, the share and then the losses give way: the end time always remains.
        for parts in (
            (position + share, activity, loss, validation, end),
            (position, activity, loss, validation, end),
            (position, activity, validation or loss, end),
            (position, activity, end),
        ):
            line = "  ".join(part for part in parts if part)
            if len(line) <= WIDTH:
                break
        return line[:WIDTH]

    def _is_due(self) -> bool:
        wait = REFRESH if sys.stderr.isatty() else self.interval
        return time.monotonic() - self._last_time >= wait

    def _rate(self) -> float:
        """Steps per second of this process, validations included."""
        return (self._step - self._start_step) / max(1e-9, time.monotonic() - self._start_time)

    def _speed(self) -> str:
        rate = self._rate()
        if rate == 0:
            return ""
        return f"{rate:.3g} steps/s" if rate >= 1 else f"{1 / rate:.3g} s/step"

    def _end(self) -> str:
        rate = self._rate()
        seconds = [] if self._timer is None else [self._timer.time_remaining()]
        if rate > 0 and self._max_steps > 0:
            seconds.append((self._max_steps - self._step) / rate)
        remaining = min((value for value in seconds if value is not None), default=None)
        if remaining is None:
            return ""
        end = datetime.now() + timedelta(seconds=min(remaining, _LONGEST))
        # The name of a weekday is clear for the next six days only.
        return f"ends {end:%a %H:%M}" if remaining < 6 * 86_400 else f"ends {end:%d %b %Y}"

    def _end_heartbeat(self) -> None:
        self._pause.close()
        heartbeat.set_line(None)

    def _end_line(self) -> None:
        if self.is_enabled and self._start_time and sys.stderr.isatty():
            print(file=sys.stderr)
