"""Predictions to sound files, one by one as they are generated."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import BasePredictionWriter

from lightning_n2m.audio.io import encode
from lightning_n2m.errors import InputError
from lightning_n2m.stages.result import GeneratedClip

MANIFEST = "manifest.jsonl"


class PredictionWriter(BasePredictionWriter):
    """Writes each clip as soon as it is generated, and a line about it to ``manifest.jsonl`` beside it.

    No file is overwritten: a second clip of the same name gets a number.

    Args:
        folder: Where to write.
        format: File format.
    """

    def __init__(self, folder: str = "outputs", format: Literal["wav", "flac"] = "wav") -> None:
        super().__init__(write_interval="batch")
        self.folder, self.format = Path(folder), format
        self.written: list[Path] = []
        self.seconds = 0.0

    def check_folder(self, num_bytes: int) -> None:
        """Make the folder, and refuse one that clips cannot be written to.

        Args:
            num_bytes: Size of all clips.

        Raises:
            InputError: if the folder cannot be made or written to, or its disk has too little space.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise InputError(
                f"--output.folder {self.folder} cannot be written to ({error.strerror}); give another folder."
            ) from error
        if num_bytes > free:
            raise InputError(
                f"The clips take {num_bytes / 1e6:.0f} MB, but {self.folder} has {free / 1e6:.0f} MB free; "
                "give another --output.folder, or fewer prompts."
            )

    def existing(self) -> set[str]:
        """What the manifest says of the clips whose files exist, as `identity` gives it."""
        identities = set()
        with contextlib.suppress(OSError), (self.folder / MANIFEST).open(encoding="utf-8") as manifest:
            for line in manifest:
                with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
                    record = json.loads(line)
                    name = record.pop("file")
                    record.pop("sample_rate", None)
                    if Path(name).name == name and (self.folder / name).is_file():
                        identities.add(identity(record))
        return identities

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
        """Write the clips of one batch.

        Raises:
            InputError: if a clip holds NaN or infinite samples.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for clip in prediction:
            if not torch.isfinite(clip.audio).all():
                raise InputError(
                    f"{clip.name} holds NaN or infinite samples, and was not written; use other weights, or "
                    "--trainer.precision 32-true."
                )
            path = self._write(clip)
            line = json.dumps(
                {"file": path.name, "sample_rate": clip.sample_rate, **clip.record}, ensure_ascii=False
            )
            # One write in append mode: ranks that share the folder do not mix their lines.
            with (self.folder / MANIFEST).open("ab", buffering=0) as manifest:
                manifest.write(line.encode() + b"\n")
            seconds = clip.audio.shape[-1] / clip.sample_rate
            self.written.append(path)
            self.seconds += seconds
            print(f"{path} ({seconds:g} s, {clip.sample_rate} Hz)", flush=True)

    def _write(self, clip: GeneratedClip) -> Path:
        """Write a clip under the first free name: complete or not at all, and never over another."""
        data = encode(clip.audio.float().cpu(), clip.sample_rate, self.format.upper())
        number = 1
        with _open_folder(self.folder) as folder, _unnamed_file(self.folder, data) as source:
            while True:
                path = self.folder / (clip.name + (f"-{number}" if number > 1 else "") + f".{self.format}")
                try:
                    # Unlike a rename, it never replaces a file. With a folder given, it follows /proc's link.
                    os.link(source, path, src_dir_fd=folder, follow_symlinks=True)
                    return path
                except FileExistsError:
                    number += 1


def identity(record: Mapping[str, Any]) -> str:
    """A record as text that is equal for equal clips: tuples count as the lists of JSON."""
    return json.dumps(record, sort_keys=True, ensure_ascii=False)


@contextlib.contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _unnamed_file(folder: Path, data: bytes) -> Iterator[str]:
    """A file without a name, which vanishes with the process; a hidden one where the disk has no such files.

    Yields:
        Its path, for `os.link`.
    """
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except (OSError, AttributeError):
        path = folder / f".{secrets.token_hex(8)}.part"
        try:
            path.write_bytes(data)
            yield str(path.resolve())
        finally:
            path.unlink(missing_ok=True)
        return
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"
