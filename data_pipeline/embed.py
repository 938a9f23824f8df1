"""`python -m data_pipeline embed`: clips and captions as vectors of a joint music-text model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_pipeline.aside import write_aside
from data_pipeline.engine import Engine, run
from data_pipeline.progress import progress
from data_pipeline.vocabularies.table import Texts, read_texts
from lightning_n2m.data.schema import Shard, read_index

if TYPE_CHECKING:
    from data_pipeline.embeddings import Embeddings


def embed(
    shards: str,
    joint: str,
    output: Path,
    vocabulary: Path | None = None,
    features: Path | None = None,
    workers: int | None = None,
    engine: Engine = "local",
) -> None:
    """Embed the clips of a shard folder, and the captions of a vocabulary if one is given.

    A clip is the average of its windows of ten seconds (section 3.6 of the paper). Vectors lie in OUTPUT as
    files that are mapped into memory, one a shard or a block of captions, each whole or not there: a
    killed job, run again, does only what is missing.

    Args:
        shards: Folder of shards, or its URL.
        joint: The joint model: a folder that 'export' wrote, a folder or hub name of a CLAP, or muq: and
            a folder or hub name.
        output: Folder of the embeddings.
        vocabulary: From 'python -m data_pipeline vocabulary'; without it 'label' embeds the captions.
        features: The folder in which the training of the joint model kept what its frozen part heard.
        workers: Processes; all cores when none is given.
        engine: 'local' for processes of this machine, 'ray' for a Ray cluster.

    Raises:
        InputError: if the joint model cannot be loaded, a clip cannot be read, or the folder holds embeddings
            of another model.
    """
    from data_pipeline.embeddings import claim, joint_of

    index = read_index(shards)
    texts = read_texts(vocabulary) if vocabulary else []
    found = claim(output, joint, joint_of(joint))
    units = [ClipUnit(found, str(shards), shard, features) for shard in index.shards if shard.clips]
    missing = [unit for unit in units if not found.clips(unit.shard).is_file()]
    total = sum(unit.shard.clips for unit in units)
    done = total - sum(unit.shard.clips for unit in missing)
    with progress("embedding", total, "clips", done) as report:
        for count in run(embed_shard, missing, workers, engine):
            report(count)
    for part in texts:
        embed_captions(found, part, workers, engine)
    print(f"{output} holds {total} clips of {len(units)} shards, embedded by {found.name}.")


@dataclass(frozen=True)
class ClipUnit:
    """The clips of a shard to embed."""

    embeddings: Embeddings
    shards: str
    shard: Shard
    features: Path | None


@dataclass(frozen=True)
class CaptionUnit:
    """A block of captions to embed, and where the vectors go."""

    embeddings: Embeddings
    texts: tuple[str, ...]
    path: Path


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch: the last bits of a product depend on how many share it."""
    import torch

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
    import torch

    from data_pipeline.embeddings import joint_of, write_vectors
    from lightning_n2m.data.shard_file import ShardFile, read_shard
    from lightning_n2m.mulan.features import audio_of, features_of
    from lightning_n2m.mulan.joint import average, embed_clips
    from lightning_n2m.mulan.two_towers import TwoTowers
    from lightning_n2m.storage import locate

    found, file = unit.embeddings, ShardFile(locate(unit.shards), unit.shard)
    model = joint_of(found.joint, found.name)
    with one_thread():
        if unit.features and isinstance(model, TwoTowers) and model.audio.feature_size is not None:
            heard = features_of(model.audio, file, unit.features)
            clips = list(heard.clips)
            parts = [model.audio_vectors(torch.from_numpy(part.copy())) for part in heard.features]
            vectors = average(torch.stack(parts))
        else:
            clips, rows = [], []
            for raw in read_shard(file):
                clips.append(raw.clip)
                rows.append(embed_clips(model, audio_of(raw, model.sample_rate)))
            vectors = torch.cat(rows)
    path = found.clips(unit.shard)
    write_aside(path.with_suffix(".jsonl"), b"".join(clip.to_json() + b"\n" for clip in clips))
    names = [f"clip {clip.key} of {unit.shard.name}" for clip in clips]
    write_vectors(path, vectors.detach().numpy(), names, found.name)
    return len(clips)


def embed_captions(found: Embeddings, texts: Texts, workers: int | None, engine: Engine) -> None:
    """Embed the captions of a vocabulary that are not embedded yet.

    Raises:
        InputError: if the joint model is no longer where it was, or another one lies there.
    """
    from data_pipeline.embeddings import BLOCK

    paths = found.captions(texts)
    units = [
        CaptionUnit(found, texts.texts[number * BLOCK : (number + 1) * BLOCK], path)
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
    import torch

    from data_pipeline.embeddings import joint_of, write_vectors

    model = joint_of(unit.embeddings.joint, unit.embeddings.name)
    with one_thread():
        rows = [model.embed_text(unit.texts[start : start + 64]) for start in range(0, len(unit.texts), 64)]
    vectors = torch.cat(rows).numpy()
    write_vectors(unit.path, vectors, [repr(text) for text in unit.texts], unit.embeddings.name)
    return len(unit.texts)
