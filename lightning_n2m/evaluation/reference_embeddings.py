"""Embeddings of reference recordings, cached in one file per shard."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import pad

from lightning_n2m.data.evaluation_set import decode_clip
from lightning_n2m.data.schema import Clip
from lightning_n2m.data.shard_reader import ShardFile, read_shard
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.embedders import Embedder, PatchEmbedder
from lightning_n2m.evaluation.tagger import predict_tags
from lightning_n2m.storage import write_atomic

RATE = 16_000
SHARDS_PER_WORKER = 4  # fewer shards do not repay the start of a process
_TOLERANCE = 0.95  # a clip that is up to 5 % shorter than the excerpt is padded with silence
_PREFIX = "embedded."
_VERSION = 2


def middle(audio: Tensor, sample_rate: int, seconds: float = 10.0) -> Tensor:
    """The middle of clips ``(..., t)``, all of them where they are shorter (section 5.1 of the paper)."""
    length = min(audio.shape[-1], round(seconds * sample_rate))
    start = (audio.shape[-1] - length) // 2
    return audio[..., start : start + length]


def excerpt(audio: Tensor, sample_rate: int, seconds: float) -> Tensor | None:
    """The middle of a clip ``(..., t)``, exactly ``seconds`` long; none if the clip is too short.

    A clip that is at most 5 % shorter, as coding leaves it, is padded with silence.
    """
    length = round(seconds * sample_rate)
    if audio.shape[-1] < _TOLERANCE * length:
        return None
    return pad(middle(audio, sample_rate, seconds), (0, max(0, length - audio.shape[-1])))


def is_long_enough(clip_seconds: float, seconds: float) -> bool:
    """Whether `excerpt` gives an excerpt of a clip of this length."""
    return clip_seconds >= _TOLERANCE * seconds


@dataclass(frozen=True)
class Reference:
    """Embeddings of reference clips, in the order of ``clips``.

    Args:
        clips: Metadata of each.
        shards: Shard of each.
        patches: The evaluating tagger's embeddings of the whole clip, ``(clips, patches, 200)``; NaN after
            the end of a shorter clip.
        logits: Its log-odds of the tags, ``(clips, 50)``.
        embedded: For each embedder, its embeddings of the excerpt: ``(clips, patches, dimension)``.
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


@dataclass(frozen=True)
class EmbeddingSettings:
    """What the embeddings of a shard depend on.

    Args:
        embedders: The embedders.
        seconds: Length of the excerpt.
        device: Where they compute.
    """

    embedders: tuple[Embedder, ...]
    seconds: float
    device: str = "cpu"

    @property
    def file_suffix(self) -> str:
        """Part of the name of a cache file."""
        names = ("".join(c if c.isalnum() else "_" for c in e.name) for e in self.embedders)
        return f"v{_VERSION}-{self.seconds:g}s-{'-'.join(names)}.safetensors"


def embed_shards(
    files: Sequence[ShardFile],
    settings: EmbeddingSettings,
    folder: Path,
    report: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Reference:
    """Embed all clips of shards, or read embeddings from the cache.

    On CPUs, several processes of one thread each are faster than one process of several threads.

    Args:
        files: The shards.
        settings: Embedders, length of the excerpt, device.
        folder: Folder of the cache: a file per shard, named by the shard's checksum and the settings.
        report: Called after each shard with the number of shards done and their total.
        workers: Number of processes; when null, one per core, but at most one per `SHARDS_PER_WORKER` shards.

    Raises:
        InputError: if a shard is damaged, or no clip is as long as the excerpt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{file.shard.sha256[:16]}-{settings.file_suffix}" for file in files]
    parts = {path: _read_cache(path, str(file.path)) for file, path in zip(files, paths, strict=True)}
    missing = [(file, path) for file, path in zip(files, paths, strict=True) if parts[path] is None]
    if workers is None:
        # A joint model is too large to copy into workers, and a GPU computes one shard after another.
        can_share = settings.device == "cpu" and all(isinstance(e, PatchEmbedder) for e in settings.embedders)
        workers = max(1, min(os.cpu_count() or 1, len(missing) // SHARDS_PER_WORKER)) if can_share else 1
    for number, _ in enumerate(_embed_missing(missing, settings, workers), start=1):
        if report is not None:
            report(len(files) - len(missing) + number, len(files))
    if report is not None and not missing:
        report(len(files), len(files))
    parts |= {path: _read_cache(path, str(file.path)) for file, path in missing}
    references = [part for part in parts.values() if part is not None and part.clips]
    if not references:
        raise InputError(
            f"No reference clip is as long as the evaluated excerpt of {settings.seconds:g} s; give "
            "a smaller --data.evaluation_set.seconds, or shards of longer clips."
        )
    return _join(references, settings.embedders)


def embed_clip(audio: Tensor, settings: EmbeddingSettings) -> dict[str, Tensor] | None:
    """Embeddings of a 16 kHz clip ``(1, t)`` by name; none if it is too short."""
    part = excerpt(audio, RATE, settings.seconds)
    if part is None:
        return None
    tagged = predict_tags(audio[None].to(settings.device), RATE)
    part = part[None].to(settings.device)
    tensors = {"patches": tagged.embedding[0], "logits": tagged.logits[0]}
    tensors |= {_PREFIX + e.name: e.embed(part, RATE)[0] for e in settings.embedders}
    return {name: x.cpu().float() for name, x in tensors.items()}


def decoded(file: ShardFile, keys: Collection[str] | None = None) -> Iterator[tuple[Clip, Tensor]]:
    """The clips of a shard, or those of some keys, as 16 kHz audio ``(1, t)``."""
    for raw in read_shard(file):
        if keys is not None and raw.clip.key not in keys:
            continue
        yield raw.clip, decode_clip(raw, RATE)


def stack_padded(rows: Sequence[Tensor]) -> Tensor:
    """Stack ``(patches, d)`` of different lengths: ``(n, most patches, d)``, NaN after the end of a row."""
    longest = max(len(row) for row in rows)
    return torch.stack([pad(row, (0, 0, 0, longest - len(row)), value=math.nan) for row in rows])


def _embed_missing(
    missing: Sequence[tuple[ShardFile, Path]], settings: EmbeddingSettings, workers: int
) -> Iterator[None]:
    """Embed shards, in this process or in several."""
    if workers == 1:
        for file, path in missing:
            _embed_shard(file, settings, path)
            yield
        return
    # Not forked: a fork of a process with running threads can block forever.
    context = multiprocessing.get_context("forkserver")
    bf16 = torch.is_autocast_enabled("cpu")  # the same precision as for generated clips
    with ProcessPoolExecutor(workers, context, _init_worker, (settings, bf16)) as pool:
        yield from pool.map(_embed_in_worker, missing)


_worker_state: list[EmbeddingSettings] = []  # of a worker process


def _init_worker(settings: EmbeddingSettings, bf16: bool) -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.set_autocast_enabled("cpu", bf16)
    _worker_state[:] = [settings]


def _embed_in_worker(work: tuple[ShardFile, Path]) -> None:
    _embed_shard(work[0], _worker_state[0], work[1])


def _embed_shard(file: ShardFile, settings: EmbeddingSettings, path: Path) -> None:
    clips: list[str] = []
    rows: list[dict[str, Tensor]] = []
    for clip, audio in decoded(file):
        row = embed_clip(audio, settings)
        if row is not None:
            clips.append(clip.to_json().decode())
            rows.append(row)
    # Only the patches of the whole clip differ in number; all other tensors have the shape of the excerpt.
    tensors = {}
    for name in rows[0] if rows else ():
        stack = stack_padded if name == "patches" else torch.stack
        tensors[name] = stack([row[name] for row in rows]).half().contiguous()
    write_atomic(path, save(tensors, {"clips": json.dumps(clips)}))


def _read_cache(path: Path, shard: str) -> Reference | None:
    """A cache file; none if it does not exist or is damaged, so that it is computed again."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as stored:
            clips = tuple(Clip.from_json(text) for text in json.loads(stored.metadata()["clips"]))
            tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
        if not clips:
            return Reference((), (), torch.empty(0), torch.empty(0), {})
        if any(len(x) != len(clips) for x in tensors.values()):
            raise ValueError("the numbers of clips and embeddings differ")
        embedded = {name.removeprefix(_PREFIX): x for name, x in tensors.items() if name.startswith(_PREFIX)}
        return Reference(clips, (shard,) * len(clips), tensors["patches"], tensors["logits"], embedded)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        print(f"The cache file {path} is damaged ({reason}); it is computed again.", file=sys.stderr)
        return None


def _join(parts: Sequence[Reference], embedders: Sequence[Embedder]) -> Reference:
    return Reference(
        tuple(clip for part in parts for clip in part.clips),
        tuple(shard for part in parts for shard in part.shards),
        stack_padded([row for part in parts for row in part.patches]),
        torch.cat([part.logits for part in parts]),
        {e.name: torch.cat([part.embedded[e.name] for part in parts]) for e in embedders},
    )
