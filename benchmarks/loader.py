"""The training loader: seconds of audio per second and core, beside simpler ways to read the same clips.

The loader and the folder with seeking decode and resample only the crop: on two idle cores with AMX, a crop
of 4.096 s takes 2.9 ms with the loader and 2.4 ms with the folder (1,401 and 1,718 audio-seconds per
second). In addition, the loader reads the whole encoded clip, 0.9 MB, because tar files and buckets are read
as a stream, and it checks the clip, chooses the crop and adds the caption.
"""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.music import corpus, pipeline
from benchmarks.result import Result
from benchmarks.timing import medians
from lightning_n2m.audio.io import probe, read, to_mono
from lightning_n2m.audio.mel import MelSettings
from lightning_n2m.audio.resample import resample
from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.derived_audio import TrainingFormat
from lightning_n2m.data.shard_reader import RawClip, find_shards, read_shard
from lightning_n2m.data.shard_sources import Source, find_sources
from lightning_n2m.data.training_stream import TrainingStream

_BATCH = 16
_SHARDS = 12
_UNIT = "audio-s/s"


def measure() -> Iterable[Result]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = _shards(Path(temporary) / "shards")
        for form in ("3200", "mel"):
            pipeline("shard", "--output", folder, "--derive", form, "--workers", "1")
        yield from _crops(folder, Path(temporary) / "files")
        yield from _derived(folder)


def _shards(folder: Path) -> Path:
    """Shards of 16 recordings."""
    manifest, music = folder.with_suffix(".jsonl"), folder.with_suffix(".music")
    music.mkdir()
    files = [
        path
        for path in sorted((corpus() / "music/recorded").rglob("*"))
        if path.suffix in (".ogg", ".flac", ".mp3")
    ]
    for number, path in enumerate(files[:: max(1, len(files) // 16)]):
        shutil.copy(path, music / f"{number:03d}{path.suffix}")
    pipeline("manifest", "--source", music, "--output", manifest, "--workers", "1")
    held_out = ["--validation", "0", "--test", "0", "--tracks-per-shard", "2"]
    pipeline("shard", "--manifest", manifest, "--output", folder, "--workers", "1", *held_out)
    return folder


def _crops(folder: Path, files: Path) -> Iterable[Result]:
    """Crops of 4.096 s at 16 kHz, the training examples of the cascader."""
    shards = find_shards([folder], "train")
    decoder = ClipDecoder(16_000, 4.096, None)
    files.mkdir()
    for shard in shards:
        for raw in read_shard(shard):
            (files / f"{raw.clip.key}.flac").write_bytes(raw.audio)
    stream = DataLoader(TrainingStream(shards, decoder, _BATCH), _BATCH)
    whole = DataLoader(TrainingStream(shards, _WholeClip(), _BATCH), _BATCH)  # type: ignore[arg-type]
    listed = DataLoader(_Folder(files), _BATCH, shuffle=True)
    works = [_batches(loader, 24) for loader in (stream, whole, listed)]
    audio = 24 * _BATCH * 4.096
    speeds = [audio / seconds for seconds in medians(*works)]
    question = "loader: crops of 4.096 s at 16 kHz, one core"
    yield Result(question, speeds[0], speeds[1], "whole clip decoded, then cropped", _UNIT, target=2.0)
    yield Result(question, speeds[0], speeds[2], "torch.utils.data over a folder, seeking", _UNIT, target=1.0)


class _WholeClip:
    """The naive decoder: it decodes the whole clip and takes the same crop."""

    def __call__(self, raw: RawClip, number: int) -> dict[str, Any]:
        audio = to_mono(read(raw.audio).samples)
        start = random.Random(number).randint(0, audio.shape[-1] - 98_304)
        return {"audio": resample(audio[:, start : start + 98_304], 24_000, 16_000), "key": raw.clip.key}


class _Folder(Dataset):
    """Files of a folder; of each, only the crop is decoded."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.iterdir())

    def __len__(self) -> int:
        return 100 * len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.files[index % len(self.files)]
        start = random.Random(index).randint(0, probe(path).frames - 98_304)
        audio = to_mono(read(path, start, 98_304).samples)
        return {"audio": resample(audio, 24_000, 16_000), "key": path.stem}


def _derived(folder: Path) -> Iterable[Result]:
    """Whole clips, the training examples of the generators: from derived shards, and derived on the fly."""
    settings = MelSettings()
    for form, title in (
        (TrainingFormat(3200), "3.2 kHz"),
        (TrainingFormat(settings.sample_rate, settings), "log-mel"),
    ):
        decoder = ClipDecoder(form.sample_rate, 20.0, None, mel=form.mel)
        works = []
        for stored in (form, None):
            sources: list[Source] = find_sources(str(folder), "train", stored)
            works.append(_batches(DataLoader(TrainingStream(sources, decoder, _BATCH), _BATCH), 6))
        derived, original = (6 * _BATCH * 20.0 / seconds for seconds in medians(*works, rounds=3))
        name = f"loader: 20 s as {title}, derived shards"
        yield Result(name, derived, original, "24 kHz shards", _UNIT, target=3.0)


def _batches(loader: DataLoader, count: int) -> Callable[[], None]:
    """A function that reads the next ``count`` batches."""
    batches = iter(loader)

    def work() -> None:
        for _ in itertools.islice(batches, count):
            pass

    return work
