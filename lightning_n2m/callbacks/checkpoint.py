"""Checkpoints of a run: every n steps, after the best validation, and when a signal ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lightning_n2m.aliases import upgrade_checkpoint
from lightning_n2m.errors import InputError, Interrupted, TrainingFailure
from lightning_n2m.stages.bundle_weights import read_checkpoint
from lightning_n2m.storage import atomic_path


class RunFolderCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` whose folder is ``checkpoints`` in the run's folder, with any logger or none.

    Lightning's own choice is the folder of the logger, which a `CSVLogger` changes with each start, so that
    ``--ckpt_path last`` would find nothing.
    """

    def _set_folder(self, trainer: pl.Trainer) -> None:
        if self.dirpath is None:
            root = str(trainer.default_root_dir)
            self.dirpath = os.path.join(root if "://" in root else os.path.realpath(root), "checkpoints")

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Choose the folder."""
        self._set_folder(trainer)
        super().setup(trainer, pl_module, stage)

    def _find_last_checkpoints(self, trainer: pl.Trainer) -> set[str]:
        """Paths of the checkpoints that ``--ckpt_path last`` can mean."""
        self._set_folder(trainer)
        return super()._find_last_checkpoints(trainer)


class Checkpoint(RunFolderCheckpoint):
    """Saves ``checkpoints/last.ckpt`` between two optimiser steps, after a validation that is due there.

    Lightning saves before the validation of the same step; a run that is killed in between would never
    repeat that validation. A signal ends the run on all ranks after the current step or validation, and a
    second signal ends it at once.

    Args:
        every_n_train_steps: Number of optimiser steps from one save to the next.
        signals: Signals that save and end the run. SLURM sends SIGUSR1 ahead of the time limit if the
            script has ``--signal=USR1@120``, and SIGTERM at preemption.
        requeue: Put the SLURM job back into the queue after SIGUSR1.
        dirpath: Folder; ``checkpoints`` in the run's folder when null.
    """

    def __init__(
        self,
        every_n_train_steps: int = 1000,
        signals: Sequence[str] = ("SIGTERM", "SIGUSR1", "SIGINT"),
        requeue: bool = True,
        dirpath: str | None = None,
    ) -> None:
        # With Lightning's version counter, a run whose folder was moved would write last-v1.ckpt.
        super().__init__(
            dirpath,
            save_last=True,
            save_top_k=0,
            every_n_train_steps=every_n_train_steps,
            enable_version_counter=False,
        )
        self.signals, self.requeue = tuple(signal.Signals[name] for name in signals), requeue
        self._caught = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace Lightning's signal handlers, which save in the middle of a step."""
        super().on_train_start(trainer, pl_module)
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                signal.signal(number, self._catch)

    def _catch(self, number: int, frame: Any) -> None:
        self._caught = number
        for other in self.signals:
            signal.signal(other, self._end_at_once if other == signal.SIGINT else signal.SIG_DFL)
        print(
            f"{signal.Signals(number).name}: saving after this step or validation; a second signal ends at "
            "once.",
            file=sys.stderr,
            flush=True,
        )

    @staticmethod
    def _end_at_once(number: int, frame: Any) -> None:
        raise Interrupted(number, "Interrupted a second time, without saving; --ckpt_path last resumes.")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an optimiser step, unless a validation comes first."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and not self._validates(trainer):
            self._save_if_due(trainer)

    @staticmethod
    def _validates(trainer: pl.Trainer) -> bool:
        """Whether a validation follows this batch."""
        batches = trainer.fit_loop.total_batch_idx + 1
        return trainer.enable_validation and batches % trainer.val_check_batch == 0  # type: ignore[operator]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after a validation."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._save_if_due(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do nothing: the last step is saved already, and the weights are the averages by now."""

    def _save_if_due(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        caught = trainer.strategy.reduce_boolean_decision(bool(self._caught), all=False)
        ends = caught or trainer.should_stop or step == trainer.max_steps
        if (ends or step % self._every_n_train_steps == 0) and not self._should_skip_saving_checkpoint(
            trainer
        ):
            for logger in trainer.loggers:
                logger.save()  # otherwise a run that is killed later lacks points of before this step
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        if caught:
            number = self._caught or signal.SIGTERM
            if trainer.is_global_zero and number == signal.SIGUSR1 and self.requeue:
                _requeue()
            raise Interrupted(
                number,
                f"{signal.Signals(number).name} ended the training after step {step}, which is saved; "
                "--ckpt_path last resumes.",
            )

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Recompute batch counts: on other GPUs, a step can have more or fewer batches than before."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        batches = checkpoint["global_step"] * trainer.accumulate_grad_batches
        for counts in (progress["total"], progress["current"]):
            difference = batches - counts["ready"]
            for name in counts:
                counts[name] += difference


class Best(RunFolderCheckpoint):
    """Saves ``checkpoints/best.ckpt``: the state whose averaged weights have the best validation so far.

    Args:
        monitor: Name of the metric; nothing is saved if this is null or validation does not log it.
        mode: Whether a lower or a higher value is better.
        dirpath: Folder; ``checkpoints`` in the run's folder when null.
    """

    def __init__(
        self,
        monitor: str | None = "val/loss",
        mode: Literal["min", "max"] = "min",
        dirpath: str | None = None,
    ) -> None:
        super().__init__(dirpath, "best", monitor, mode=mode, enable_version_counter=False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if the metric was logged and is better."""
        if self.monitor in trainer.callback_metrics:
            super().on_validation_end(trainer, pl_module)


def _requeue() -> None:
    """Put this SLURM job, or this task of an array, back into the queue."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
    if array:
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job:
        try:
            subprocess.run(["scontrol", "requeue", job], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            rank_zero_warn(f"The job {job} was saved but could not be requeued: {error}")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in its folder and renames it: no partial file gets its name.

    Lightning writes to the system's temporary folder first, often another file system, from which a
    move is a copy that a kill interrupts; it also holds the whole file in memory.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; to a URL as Lightning does."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_path(path) as part, part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TrainingFailure(
                f"{path} could not be written ({error.strerror}); the file of the save before is kept. Free "
                "some space or make the folder writable, then resume with --ckpt_path last."
            ) from error

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint; callbacks of earlier versions are renamed.

        Raises:
            InputError: if the file is missing, damaged or no checkpoint of a training.
        """
        if "://" in str(path):
            checkpoint = super().load_checkpoint(path, *args, **kwargs)
        else:
            checkpoint = read_checkpoint(path)
        if "state_dict" not in checkpoint:
            raise InputError(f"The checkpoint {path} holds no weights; give one that 'fit' wrote.")
        return upgrade_checkpoint(checkpoint)
