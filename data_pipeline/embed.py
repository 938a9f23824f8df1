"""`python -m data_pipeline embed`: vectors of clips and captions by a joint music-text model."""

from __future__ import annotations

import shlex
from pathlib import Path

from data_pipeline.captions.vocabulary.table import read_texts
from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from lightning_n2m.data.schema import read_index
from lightning_n2m.errors import printable


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

    The vector of a clip is the mean over its windows of ten seconds (section 3.6 of the paper). OUTPUT holds
    memory-mapped files, one for each shard or block of captions, each written atomically: a killed job,
    started again, computes only what is missing.

    Args:
        shards: Folder of shards, or its URL.
        joint: The joint model: a folder that 'export' wrote, a folder or hub name of a CLAP, or muq: and
            a folder or hub name.
        output: Folder of the embeddings.
        vocabulary: From 'python -m data_pipeline vocabulary'; without it 'label' embeds the captions.
        features: The folder with the cached features of the frozen part, from the training of the joint
            model.
        workers: Processes; all cores by default.
        engine: 'local' for processes of this machine, 'ray' for a Ray cluster.

    Raises:
        InputError: if the joint model cannot be loaded, a clip cannot be read, or the folder holds embeddings
            of another model.
    """
    from data_pipeline.captions.embedding_units import ClipUnit, embed_captions, embed_shard
    from data_pipeline.captions.embeddings import claim, joint_of

    index = read_index(shards)
    texts = read_texts(vocabulary) if vocabulary else []
    embeddings = claim(output, joint, joint_of(joint))
    units = [ClipUnit(embeddings, str(shards), shard, features) for shard in index.shards if shard.clips]
    missing = [unit for unit in units if not embeddings.clips(unit.shard).is_file()]
    total = sum(unit.shard.clips for unit in units)
    done = total - sum(unit.shard.clips for unit in missing)
    with progress("embedding", total, "clips", done) as report:
        for count in run(embed_shard, missing, workers, engine):
            report(count)
    for part in texts:
        embed_captions(embeddings, part, workers, engine)
    name = printable(embeddings.name)
    print(f"{output} holds the vectors of {total} clips in {len(units)} shards, by {name}.")
    folders = shlex.join(["--shards", str(shards), "--embeddings", str(output)])
    given = shlex.quote(str(vocabulary or "VOCABULARY"))
    print(f"Next: python -m data_pipeline label {folders} --vocabulary {given}")
