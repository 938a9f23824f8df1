"""Features of the clips of a shard by a frozen tower: computed once, cached in memory-mapped files."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_n2m.audio.io import to_mono
from lightning_n2m.audio.resample import resample
from lightning_n2m.data.clip_audio import read_clip
from lightning_n2m.data.schema import Clip
from lightning_n2m.data.shard_reader import RawClip, ShardFile, read_shard
from lightning_n2m.errors import InputError
from lightning_n2m.mulan.arrays import map_array, read_clips
from lightning_n2m.mulan.audio_tower import AudioTower
from lightning_n2m.mulan.joint import windows
from lightning_n2m.storage import write_atomic


@dataclass(frozen=True)
class CachedFeatures:
    """The clips of a shard, and the features of their windows, ``(clips, windows, feature_size)``."""

    clips: tuple[Clip, ...]
    features: NDArray[np.float32]


def decode_audio(raw: RawClip, sample_rate: int) -> torch.Tensor:
    """Decode a whole clip: ``(1, t)`` at a rate.

    Raises:
        InputError: if the clip is damaged.
    """
    try:
        audio = read_clip(raw)
    except InputError as error:
        raise InputError(
            f"Clip {raw.clip.key} of {raw.shard} cannot be used: {str(error).rstrip('.')}; build its shard "
            "again."
        ) from error
    return resample(to_mono(audio.samples), audio.sample_rate, sample_rate)


def cached_features(tower: AudioTower, file: ShardFile, cache: Path) -> CachedFeatures:
    """Features of a shard, from the cache, or computed and added to it.

    A file of the cache is named by a hash of the shard's content and the tower, so it is never out of date.
    It is written atomically: what a killed job has computed is not computed again.

    Args:
        tower: The frozen tower.
        file: The shard.
        cache: Folder of the cache.

    Raises:
        InputError: if a clip cannot be read, the clips differ in length, or a file of the cache is damaged.
    """
    folder = cache / hashlib.sha256(tower.name.encode()).hexdigest()[:12]
    path = folder / f"{file.shard.sha256[:20]}.npy"
    about = path.with_suffix(".jsonl")
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        clips, rows = [], []
        for raw in read_shard(file):
            audio = decode_audio(raw, tower.sample_rate)
            clips.append(raw.clip.to_json().decode())
            rows.append(tower.features(windows(audio, tower.sample_rate)[0]).float().cpu().numpy())
        if any(row.shape != rows[0].shape for row in rows):
            raise InputError(
                f"The clips of {file.path} differ in length; build shards of clips of one length."
            )
        write_atomic(about, "".join(f"{clip}\n" for clip in clips))
        stream = io.BytesIO()
        np.save(stream, np.stack(rows))
        write_atomic(path, stream.getvalue())
    remedy = f"delete it; it will be computed again in {cache}"
    features = map_array(path, np.float32, (file.shard.clips, None, tower.feature_size), remedy)
    return CachedFeatures(tuple(read_clips(about, len(features), remedy)), features)
