"""Units of work of embedding: the clips of a shard, or a block of captions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from data_pipeline.captions.embeddings import BLOCK, Embeddings, joint_of, write_vectors
from data_pipeline.captions.vocabulary.table import Texts
from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from lightning_n2m.data.schema import Shard
from lightning_n2m.data.shard_reader import ShardFile, read_shard
from lightning_n2m.mulan.feature_cache import cached_features, decode_audio
from lightning_n2m.mulan.joint import average, embed_clips
from lightning_n2m.mulan.two_towers import TwoTowers
from lightning_n2m.storage import locate, write_atomic


@dataclass(frozen=True)
class ClipUnit:
    """The clips of a shard to embed."""

    embeddings: Embeddings
    shards: str
    shard: Shard
    features: Path | None


@dataclass(frozen=True)
class CaptionUnit:
    """A block of captions to embed, and the file for their vectors."""

    embeddings: Embeddings
    texts: tuple[str, ...]
    path: Path


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: the last bits of a matrix product depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def embed_shard(unit: ClipUnit) -> int:
    """Embed one shard.

    Returns:
        The number of its clips.
    """
    embeddings, file = unit.embeddings, ShardFile(locate(unit.shards), unit.shard)
    model = joint_of(embeddings.joint, embeddings.name)
    with one_thread():
        if unit.features and isinstance(model, TwoTowers) and model.audio.feature_size is not None:
            # The frozen part of the audio tower may have been computed during training.
            cached = cached_features(model.audio, file, unit.features)
            clips = list(cached.clips)
            windows = [model.audio_vectors(torch.from_numpy(part.copy())) for part in cached.features]
            vectors = average(torch.stack(windows))
        else:
            clips, rows = [], []
            for raw in read_shard(file):
                clips.append(raw.clip)
                rows.append(embed_clips(model, decode_audio(raw, model.sample_rate)))
            vectors = torch.cat(rows)
    path = embeddings.clips(unit.shard)
    write_atomic(path.with_suffix(".jsonl"), b"".join(clip.to_json() + b"\n" for clip in clips))
    names = [f"clip {clip.key} of {unit.shard.name}" for clip in clips]
    write_vectors(path, vectors.detach().numpy(), names, embeddings.name)
    return len(clips)


def embed_captions(embeddings: Embeddings, texts: Texts, workers: int | None, engine: Engine) -> None:
    """Embed the captions of a vocabulary that are not embedded yet.

    Raises:
        InputError: if the joint model has been moved or replaced.
    """
    paths = embeddings.captions(texts)
    units = [
        CaptionUnit(embeddings, texts.texts[number * BLOCK : (number + 1) * BLOCK], path)
        for number, path in enumerate(paths)
        if not path.is_file()
    ]
    if not units:
        return
    total = len(texts.texts)
    done = total - sum(len(unit.texts) for unit in units)
    with progress(f"embedding {texts.vocabulary}", total, "captions", done) as report:
        for count in run(embed_texts, units, workers, engine):
            report(count)


def embed_texts(unit: CaptionUnit) -> int:
    """Embed one block of captions.

    Returns:
        Their number.
    """
    model = joint_of(unit.embeddings.joint, unit.embeddings.name)
    with one_thread():
        rows = [model.embed_text(unit.texts[start : start + 64]) for start in range(0, len(unit.texts), 64)]
    vectors = torch.cat(rows).numpy()
    write_vectors(unit.path, vectors, [repr(text) for text in unit.texts], unit.embeddings.name)
    return len(unit.texts)
