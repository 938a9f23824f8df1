"""`predict` around the trainer: checks before sampling, what exists already, and a summary at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule

from lightning_n2m.callbacks.prediction_writer import MANIFEST, PredictionWriter, identity
from lightning_n2m.cascade import Cascade
from lightning_n2m.data.prompts import Prompts
from lightning_n2m.errors import InputError
from lightning_n2m.interrupts import interrupted_by_signals
from lightning_n2m.stages.base import Stage

_SHOWN = 5  # prompts that a warning names


def prepare_prediction(
    model: LightningModule, data: Any, writer: PredictionWriter, checkpoint: str | None
) -> bool:
    """Check all that can be checked before sampling, and leave out the clips that exist.

    Args:
        model: A cascade or a stage.
        data: Its data module.
        writer: Writes the clips.
        checkpoint: Value of ``--ckpt_path``.

    Returns:
        Whether there is anything to generate.

    Raises:
        InputError: if a stage has no trained weights, there is no prompt, or the folder cannot be
            written to.
    """
    if isinstance(model, Stage) and checkpoint is None:
        raise InputError(
            f"'predict' of a {type(model).__name__} without --ckpt_path would run an untrained network; give "
            "--ckpt_path RUN/checkpoints/last.ckpt, or -c configs/cascade/spectrogram.yaml for music."
        )
    if not isinstance(model, Cascade) or not isinstance(data, Prompts):
        writer.check_folder(0)
        return True
    model.edit = data.edit()
    if model.edit is not None:
        model.seconds = model.edit.seconds
    items = data.items()
    for item in items:
        model.requested.numbers(item["prompt"])  # Refuses a prompt that names another tempo or key.
    writer.check_folder(int(2 * len(items) * model.seconds * model.sample_rate))
    existing = writer.existing()
    remaining = [item for item in items if not existing or identity(model.record(item)) not in existing]
    if len(remaining) < len(items):
        print(f"{len(items) - len(remaining)} of {len(items)} clips exist in {writer.folder} and are kept.")
    _warn_of_long_prompts(model, list(dict.fromkeys(item["prompt"] for item in remaining)))
    data.keep(remaining)
    return bool(remaining)


def _warn_of_long_prompts(cascade: Cascade, prompts: list[str]) -> None:
    """Name the prompts of which a text encoder reads only the beginning."""
    long = [(prompt, counts) for prompt in prompts if (counts := cascade.token_counts(prompt))]
    for prompt, counts in long[:_SHOWN]:
        stage, tokens, limit = counts[0]
        start = "".join(c if c.isprintable() else " " for c in prompt[:40])
        print(
            f"warning: the prompt '{start}...' has {tokens} tokens, and the {stage} reads the first {limit}.",
            file=sys.stderr,
        )
    if len(long) > _SHOWN:
        print(f"warning: {len(long) - _SHOWN} more prompts are too long.", file=sys.stderr)


@contextmanager
def summarised(writer: PredictionWriter) -> Iterator[None]:
    """Print what was generated once the block ends; a signal ends it with one line.

    Raises:
        Interrupted: on SIGINT or SIGTERM.
    """
    began = time.monotonic()

    def message() -> str:
        return (
            f"Interrupted: {len(writer.written)} clips are in {writer.folder}; the same command generates "
            "the others."
        )

    with interrupted_by_signals(message):
        yield
    if writer.written:
        count = len(writer.written)
        duration = time.monotonic() - began
        print(f"{count} clip{'s' if count > 1 else ''} ({writer.seconds:g} s of music) in {duration:.0f} s.")
        print(f"{writer.folder / MANIFEST} says how each was generated.")
        print("Next: another --model.seed gives other music for the same prompt.")
