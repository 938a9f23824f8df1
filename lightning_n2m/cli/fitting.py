"""Checks before `fit` writes anything, and the summary after it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lightning_n2m.callbacks.checkpoint import Best
from lightning_n2m.errors import InputError, Interrupted
from lightning_n2m.mulan.two_towers import TwoTowers
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import LAST
from lightning_n2m.stages.bundle_weights import read_checkpoint
from lightning_n2m.stages.run_checks import limit_steps
from lightning_n2m.storage import is_url

# Validation metrics of a joint model, which has no validation loss.
_JOINT_METRICS = ("recall_10_text_to_audio", "recall_10_audio_to_text", "recall_10_chance", "tag_auc")


@contextmanager
def one_line_device_errors() -> Iterator[None]:
    """Turn Lightning's errors about devices and trainer options into an `InputError`.

    Raises:
        InputError: if the trainer cannot be built, for example without a GPU that its options require.
    """
    try:
        yield
    except MisconfigurationException as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"The trainer cannot be built: {reason}; change --trainer.accelerator, --trainer.devices or the "
            "option that it names (-c configs/trainer/cpu.yaml trains without a GPU)."
        ) from error


def prepare_fit(trainer: Trainer, model: LightningModule, ckpt_path: str | None) -> None:
    """Refuse a training that cannot start, before its folder changes.

    Args:
        trainer: The trainer.
        model: The model.
        ckpt_path: Value of ``--ckpt_path``.

    Raises:
        InputError: if the training is longer than its learning rate, if the run's folder is not writable, if
            it holds a checkpoint and there is no ``--ckpt_path``, or if the checkpoint does not fit the
            config.
    """
    interrupt_at_once("before the first step")
    if isinstance(model, Stage | TwoTowers):
        limit_steps(trainer, model.optimisation)
    root = trainer.default_root_dir
    check_writable(root)
    last = Path(root) / LAST
    if ckpt_path is None:
        if last.is_file():
            raise InputError(
                f"{last} exists: resume with '--ckpt_path last', or train elsewhere with "
                "--trainer.default_root_dir."
            )
        return
    path = last if ckpt_path == "last" else Path(ckpt_path)
    is_given = path.is_file() or ckpt_path != "last"
    if not is_given and not is_url(root) and trainer.is_global_zero:
        print(f"{last} does not exist yet: a new training starts.", file=sys.stderr)
    if isinstance(model, Stage | TwoTowers) and is_given and not is_url(ckpt_path):
        model.check_checkpoint(read_checkpoint(path))


def interrupt_at_once(moment: str) -> None:
    """Let Ctrl-C end the process with one line.

    Args:
        moment: When the signal arrives, for the message.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number, f"Interrupted {moment}; nothing was saved.")

    signal.signal(signal.SIGINT, interrupt)


def check_writable(folder: str) -> None:
    """Create a run's folder.

    Raises:
        InputError: if it cannot be created or written.
    """
    if is_url(folder):
        return
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"The run's folder {folder} cannot be written ({error.strerror}); choose another one with "
            "--trainer.default_root_dir."
        ) from error


def summary(trainer: Trainer, model: LightningModule) -> str:
    """Summary of a finished training: result, validation losses, folder and the next commands."""
    root = trainer.default_root_dir
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    lines = [
        f"Trained {type(model).__name__} ({parameters:.3g} M parameters) up to step {trainer.global_step:,}."
    ]
    losses = []
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Best) and callback.best_model_score is not None:
            losses.append(f"best {float(callback.best_model_score):.4g} ({callback.best_model_path})")
    metrics = {name.removeprefix("val/"): float(value) for name, value in trainer.callback_metrics.items()}
    if "val/loss" in trainer.callback_metrics:
        losses.append(f"last {metrics['loss']:.4g}")
    if isinstance(model, TwoTowers) and (
        last := [f"{name} {metrics[name]:.3g}" for name in _JOINT_METRICS if name in metrics]
    ):
        lines.append(f"Last validation: {', '.join(last)}.")
    else:
        unknown = f"not measured (--trainer.val_check_interval is {trainer.val_check_interval})"
        lines.append(f"Validation loss: {', '.join(losses) if losses else unknown}.")
    lines.append(f"The run lies in {root}: {LAST} (averaged weights), config.yaml, curves.")
    lines.append(f"Next: python -m lightning_n2m export {shlex.quote(root)} OUT_FOLDER")
    lines.append(f"      tensorboard --logdir {shlex.quote(root)}")
    return "\n".join(lines)


def print_summary(trainer: Trainer, model: LightningModule) -> None:
    """Print the summary on rank 0, if the training came to its end."""
    if trainer.is_global_zero:
        print(summary(trainer, model), file=sys.stderr)
