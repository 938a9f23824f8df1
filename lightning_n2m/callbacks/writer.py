"""Predictions to sound files, one by one as they are made."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BasePredictionWriter

from lightning_n2m.audio.io import write
from lightning_n2m.stages.generated import Generated


class Output(BasePredictionWriter):
    """Writes each clip as it is made, and a line about it to ``manifest.jsonl`` beside it.

    Nothing that is there is overwritten: a second clip of the same name gets a number.

    Args:
        folder: Where to write.
        format: File format.
    """

    def __init__(self, folder: str = "outputs", format: Literal["wav", "flac"] = "wav") -> None:
        super().__init__(write_interval="batch")
        self.folder, self.format = Path(folder), format

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Sequence[Generated],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the clips of one batch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for clip in prediction:
            path = self._reserve(clip.name)
            try:
                write(path, clip.audio, clip.sample_rate)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            line = json.dumps(
                {"file": path.name, "sample_rate": clip.sample_rate, **clip.record}, ensure_ascii=False
            )
            # One write in append mode: ranks that share the folder do not tear each other's lines.
            with (self.folder / "manifest.jsonl").open("ab", buffering=0) as manifest:
                manifest.write(line.encode() + b"\n")
            print(f"{path} ({clip.audio.shape[-1] / clip.sample_rate:g} s, {clip.sample_rate} Hz)")

    def _reserve(self, name: str) -> Path:
        """An empty file under the first free name, so that no other rank takes it."""
        number = 1
        while True:
            path = self.folder / (
                f"{name}.{self.format}" if number == 1 else f"{name}-{number}.{self.format}"
            )
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                return path
            except FileExistsError:
                number += 1
