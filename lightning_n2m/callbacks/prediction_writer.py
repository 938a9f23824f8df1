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
from lightning_n2m.stages.result import GeneratedClip


class PredictionWriter(BasePredictionWriter):
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
        prediction: Sequence[GeneratedClip],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the clips of one batch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for clip in prediction:
            path = self._keep(clip)
            line = json.dumps(
                {"file": path.name, "sample_rate": clip.sample_rate, **clip.record}, ensure_ascii=False
            )
            # One write in append mode: ranks that share the folder do not tear each other's lines.
            with (self.folder / "manifest.jsonl").open("ab", buffering=0) as manifest:
                manifest.write(line.encode() + b"\n")
            print(f"{path} ({clip.audio.shape[-1] / clip.sample_rate:g} s, {clip.sample_rate} Hz)")

    def _keep(self, clip: GeneratedClip) -> Path:
        """Write a clip under the first free name: whole or not at all, and never over another."""
        aside = write(self.folder / f".{clip.name}.{os.getpid()}.{self.format}", clip.audio, clip.sample_rate)
        number = 1
        try:
            while True:
                path = self.folder / (clip.name + (f"-{number}" if number > 1 else "") + f".{self.format}")
                try:
                    os.link(aside, path)  # unlike a rename, it fails where a file of this name is
                    return path
                except FileExistsError:
                    number += 1
        finally:
            aside.unlink()
