from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
import torch

from data_pipeline.__main__ import main
from lightning_n2m.audio.io import encode
from lightning_n2m.data.schema import INDEX, Captions, Clip, Index, Shard
from lightning_n2m.data.shard_reader import RawClip, find_shards
from lightning_n2m.errors import InputError

SHARD = Shard("audio-000007.tar", "train", 12, 360.0, 1000, "ab" * 32)


def clip_of(track: str, number: int = 0, seconds: float = 0.05, **fields) -> Clip:
    return Clip(track, number, 30.0 * number, seconds, 24_000, **fields)


def noise(seed: int, seconds: float, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(channels, round(24_000 * seconds), generator=generator) - 0.5


def _write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def write_tar() -> Callable[..., None]:
    """Writes (name, bytes) members to a tar file."""
    return _write_tar


@pytest.fixture
def build(tmp_path) -> Callable[..., Path]:
    """Builds a shard folder: one shard for each number of clips, all of them noise."""

    def build(counts: Sequence[int], name="shards", split="train", seconds=0.05, captions=False) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        shards = []
        for number, count in enumerate(counts):
            clips = [clip_of(f"{name}{number:02d}x{i:02d}", seconds=seconds) for i in range(count)]
            path = folder / f"audio-{number:06d}.tar"
            members = []
            for i, clip in enumerate(clips):
                members += [
                    (f"{clip.key}.flac", encode(noise(1000 * number + i, seconds), 24_000)),
                    (f"{clip.key}.json", clip.to_json()),
                ]
            _write_tar(path, members)
            data = path.read_bytes()
            shard = Shard(
                path.name, split, count, count * seconds, len(data), hashlib.sha256(data).hexdigest()
            )
            if captions:
                lines = (
                    Captions(clip.key, (f"A song called {clip.key}.",)).to_json() + "\n" for clip in clips
                )
                (folder / shard.captions_name).write_text("".join(lines), encoding="utf-8")
            shards.append(shard)
        (folder / INDEX).write_text(Index(tuple(shards), clip_seconds=seconds).to_json(), encoding="utf-8")
        return folder

    return build


@pytest.fixture
def raw_clip() -> Callable[..., RawClip]:
    """A clip as it comes out of a shard, with its audio replaced at will."""

    def make(audio: bytes | None = None, seconds=1.0, captions: Captions | None = None, **fields) -> RawClip:
        clip = replace(clip_of("track", seconds=seconds), **fields)
        return RawClip(clip, encode(noise(0, seconds), 24_000) if audio is None else audio, captions, "a.tar")

    return make


@pytest.fixture
def remote(build):
    """The same shards on this machine and and their URL in a file system in memory."""
    folder = build([3, 2, 4, 1], captions=True)
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/far/shards", recursive=True)
    yield folder, "memory://far/shards"
    memory.rm("/far", recursive=True)


def name_only(raw, number):
    """A decoder that passes over the audio, for questions of order."""
    return {"key": raw.clip.key, "number": number}


def refused(work, *parts):
    """The message of the InputError that ``work`` raises, which holds all ``parts``."""
    with pytest.raises(InputError) as error:
        work()
    message = str(error.value)
    assert "\n" not in message
    assert "<" not in message, "shows an object of ours"
    for part in parts:
        assert part in message
    return message


@pytest.fixture
def shard(build):
    """A shard of four clips."""
    return find_shards([build([4])], "train")[0]


@pytest.fixture
def derived(build):
    """Shards of noise, with a low rate and log-mels beside them."""
    folder = build([3, 2], seconds=0.6, captions=True)
    for form in ("3200", "mel"):
        assert main(["shard", "--output", str(folder), "--derive", form, "--workers", "1"]) == 0
    return folder
