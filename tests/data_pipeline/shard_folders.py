"""Shard folders of short clips, and what they hold."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import soundfile

from data_pipeline.__main__ import main

SHORT = ["--clip-seconds", "8", "--clips-per-track", "3", "--tracks-per-shard", "2"]


def shard(manifest: Path, output: Path, *more: str) -> int:
    return main(["shard", "--manifest", str(manifest), "--output", str(output), "--workers", "1", *more])


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def samples(data: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(data), dtype="float32")[0]
