"""What the judges heard in real music, a file a shard, so that a rerun does only what is missing."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from lightning_n2m.audio.io import to_mono
from lightning_n2m.audio.resample import resample_file
from lightning_n2m.data.clip_audio import read_clip
from lightning_n2m.data.schema import Clip
from lightning_n2m.data.shard_reader import ShardFile, read_shard
from lightning_n2m.evaluation.embedders import Embedder, PatchEmbedder
from lightning_n2m.evaluation.tags import hear
from lightning_n2m.storage import write_atomic

RATE = 16_000
EVALUATED_SECONDS = 10.0
REFERENCE_SECONDS = 5.0  # of each reference clip; there are thousands of them
HEAP = 4  # shards for which a process more is worth its start


def middle(audio: Tensor, sample_rate: int, seconds: float = EVALUATED_SECONDS) -> Tensor:
    """The middle of clips ``(..., t)``, all of them where they are shorter (section 5.1 of the paper)."""
    length = min(audio.shape[-1], round(seconds * sample_rate))
    start = (audio.shape[-1] - length) // 2
    return audio[..., start : start + length]


@dataclass(frozen=True)
class Reference:
    """What was heard in real clips, in the order of ``clips``.

    Args:
        clips: What is known of each.
        shards: Where each lies.
        patches: The judging tagger's embedding of patches of the whole clip, ``(clips, patches, 200)``.
        logits: Its log-odds of the tags, ``(clips, 50)``.
        embedded: By each other embedder's name, the middle: ``(clips, patches, dimension)``.
    """

    clips: tuple[Clip, ...]
    shards: tuple[str, ...]
    patches: Tensor
    logits: Tensor
    embedded: dict[str, Tensor]

    def where(self, keep: Callable[[Clip], bool]) -> Reference:
        """The clips for which ``keep`` holds."""
        return self.take([i for i, clip in enumerate(self.clips) if keep(clip)])

    def take(self, places: Sequence[int]) -> Reference:
        """The clips at ``places``."""
        index = torch.tensor(places, dtype=torch.long)
        return Reference(
            tuple(self.clips[i] for i in places),
            tuple(self.shards[i] for i in places),
            self.patches[index],
            self.logits[index],
            {name: x[index] for name, x in self.embedded.items()},
        )


def embed_shards(
    files: Sequence[ShardFile],
    embedders: Sequence[Embedder],
    folder: Path,
    report: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Reference:
    """Hear all clips of shards, or read what was heard before.

    Several processes of one thread each hear faster than one process of several threads.

    Args:
        files: The shards.
        embedders: For Fréchet distances, beside the judging tagger.
        folder: Where what was heard is kept: a file a shard, named by the shard's checksum and the embedders.
        report: Called after each shard with shards done and shards in all.
        workers: Processes; when null, one a core, but no more than there are heaps of `HEAP` shards to hear.

    Raises:
        InputError: if a shard is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = "-".join("".join(c if c.isalnum() else "_" for c in e.name) for e in embedders)
    paths = [folder / f"{file.shard.sha256[:16]}-{names}.safetensors" for file in files]
    missing = [(file, path) for file, path in zip(files, paths, strict=True) if not path.is_file()]
    if workers is None:  # a joint model is too large to be handed round
        many = all(isinstance(e, PatchEmbedder) for e in embedders)
        workers = max(1, min(os.cpu_count() or 1, len(missing) // HEAP)) if many else 1
    for number, _ in enumerate(_hearing(missing, embedders, workers), start=1):
        if report is not None:
            report(len(files) - len(missing) + number, len(files))
    if report is not None and not missing:
        report(len(files), len(files))
    parts = [_read(path, str(file.path)) for file, path in zip(files, paths, strict=True)]
    return Reference(
        tuple(clip for part in parts for clip in part.clips),
        tuple(shard for part in parts for shard in part.shards),
        torch.cat([part.patches for part in parts]),
        torch.cat([part.logits for part in parts]),
        {e.name: torch.cat([part.embedded[e.name] for part in parts]) for e in embedders},
    )


def embed_reference_clips(audio: Sequence[Tensor], embedders: Sequence[Embedder]) -> Reference:
    """Hear 16 kHz clips ``(1, t)`` of equal length that lie in no shard."""
    rows = [_hear(clip, embedders) for clip in audio]
    stacked = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    return _reference((), (), stacked)


def decoded(file: ShardFile, keys: Collection[str] | None = None) -> Iterator[tuple[Clip, Tensor]]:
    """The clips of a shard, or those of some keys, as 16 kHz audio ``(1, t)``."""
    for raw in read_shard(file):
        if keys is not None and raw.clip.key not in keys:
            continue
        audio = read_clip(raw)
        yield raw.clip, resample_file(to_mono(audio.samples), audio.sample_rate, RATE)


def _hearing(
    missing: Sequence[tuple[ShardFile, Path]], embedders: Sequence[Embedder], workers: int
) -> Iterator[None]:
    """Hear shards, in this process or in several."""
    if workers == 1:
        for file, path in missing:
            _embed_shard(file, embedders, path)
            yield
        return
    # Not forked: a fork of a process whose threads have multiplied waits for them for ever.
    start = multiprocessing.get_context("forkserver")
    bf16 = torch.is_autocast_enabled("cpu")  # as all that it is compared with
    with ProcessPoolExecutor(workers, start, _init_worker, (embedders, bf16)) as pool:
        yield from pool.map(_embed_in_worker, missing)


_worker_state: list[Embedder] = []  # of a worker process


def _init_worker(embedders: Sequence[Embedder], bf16: bool) -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.set_autocast_enabled("cpu", bf16)
    _worker_state[:] = embedders


def _embed_in_worker(work: tuple[ShardFile, Path]) -> None:
    _embed_shard(work[0], _worker_state, work[1])


def _embed_shard(file: ShardFile, embedders: Sequence[Embedder], path: Path) -> None:
    clips, rows = [], []
    for clip, audio in decoded(file):
        clips.append(clip.to_json().decode())
        rows.append(_hear(audio, embedders))
    tensors = {name: torch.stack([row[name] for row in rows]).half().contiguous() for name in rows[0]}
    write_atomic(path, save(tensors, {"clips": json.dumps(clips)}))


def _hear(audio: Tensor, embedders: Sequence[Embedder]) -> dict[str, Tensor]:
    heard = hear(audio[None], RATE)
    part = middle(audio, RATE, REFERENCE_SECONDS)[None]
    return {
        "patches": heard.embedding[0],
        "logits": heard.logits[0],
        **{f"embedded.{e.name}": e.embed(part, RATE)[0] for e in embedders},
    }


def _read(path: Path, shard: str) -> Reference:
    with safe_open(path, framework="pt") as stored:
        clips = tuple(Clip.from_json(text) for text in json.loads(stored.metadata()["clips"]))
        tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
    return _reference(clips, (shard,) * len(clips), tensors)


def _reference(clips: tuple[Clip, ...], shards: tuple[str, ...], tensors: dict[str, Tensor]) -> Reference:
    prefix = "embedded."
    return Reference(
        clips,
        shards,
        tensors["patches"],
        tensors["logits"],
        {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)},
    )
