"""Units of work of the search: the clips of some shards against a whole vocabulary."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from data_pipeline.captions.embeddings import Embeddings
from data_pipeline.captions.labelling import SearchMethod
from data_pipeline.captions.labelling.search import nearest, nearest_by_faiss
from data_pipeline.captions.vocabulary.table import Texts
from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from lightning_n2m.data.schema import Shard
from lightning_n2m.errors import InputError
from lightning_n2m.storage import write_atomic

AT_ONCE = 1024  # Clips of a unit: the vocabulary is read once for all of them.


@dataclass(frozen=True)
class SearchUnit:
    """Some shards whose nearest captions are to be embeddings."""

    embeddings: Embeddings
    shards: tuple[Shard, ...]
    texts: Texts
    top: int
    search: SearchMethod


def find_nearest(
    embeddings: Embeddings,
    shards: list[Shard],
    texts: Texts,
    top: int,
    search: SearchMethod,
    workers: int,
    engine: Engine,
) -> None:
    """Find the nearest captions of all shards for which they are missing."""
    missing = [shard for shard in shards if not embeddings.nearest(shard, texts, top).is_file()]
    groups: list[list[Shard]] = [[]]
    for shard in missing:
        if groups[-1] and sum(item.clips for item in groups[-1]) + shard.clips > AT_ONCE:
            groups.append([])
        groups[-1].append(shard)
    units = [SearchUnit(embeddings, tuple(group), texts, top, search) for group in groups if group]
    total = sum(shard.clips for shard in shards)
    done = total - sum(shard.clips for shard in missing)
    with progress(f"searching {texts.vocabulary}", total, "clips", done) as report:
        for count in run(search_shards, units, workers, engine):
            report(count)


def search_shards(unit: SearchUnit) -> int:
    """Find the nearest captions of the clips of some shards, and store them.

    Returns:
        The number of clips.
    """
    embeddings = unit.embeddings
    captions = [embeddings.read(path) for path in embeddings.captions(unit.texts)]
    if sum(map(len, captions)) != len(unit.texts.texts):
        raise InputError(
            f"{embeddings.folder} holds another number of {unit.texts.vocabulary} captions than the "
            f"vocabulary; delete {embeddings.captions(unit.texts)[0].parent} and label again."
        )
    vectors = [np.array(embeddings.read_clips(shard)[1]) for shard in unit.shards]
    find = nearest if unit.search == "exact" else nearest_by_faiss
    result = find(np.concatenate(vectors), captions, unit.top)
    start = 0
    for shard, part in zip(unit.shards, vectors, strict=True):
        path = embeddings.nearest(shard, unit.texts, unit.top)
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        np.save(stream, result.captions[start : start + len(part)])
        write_atomic(path, stream.getvalue())
        start += len(part)
    return start
