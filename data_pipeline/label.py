"""`python -m data_pipeline label`: pseudo-labels, beside the shards and without touching audio."""

from __future__ import annotations

from pathlib import Path

from data_pipeline.captions.labelling import SearchMethod
from data_pipeline.captions.vocabulary.table import Name, read_texts
from data_pipeline.parallel import Engine
from lightning_n2m.data.schema import read_index
from lightning_n2m.errors import InputError


def label(
    shards: str,
    embeddings: Path,
    vocabulary: Path,
    top: int = 10,
    keep: int = 3,
    keep_short: int = 6,
    seed: int = 0,
    rater_lf: bool = False,
    search: SearchMethod = "exact",
    workers: int = 1,
    engine: Engine = "local",
    report: Path | None = None,
    mulamcap: Path | None = None,
) -> None:
    """Give every clip captions out of a vocabulary (section 3.6 of the paper).

    The nearest captions of each clip are found, counted over all clips, and a few are drawn with probability
    inverse to their count, so that rare ones get their turn. captions-*.jsonl beside the shards holds
    the result, which training mixes with what the tracks brought along. The labels depend on the
    embeddings, the vocabulary and the seed, and on nothing else.

    Args:
        shards: Folder of shards.
        embeddings: From 'python -m data_pipeline embed'; captions that are not in it are embedded first.
        vocabulary: From 'python -m data_pipeline vocabulary'.
        top: Nearest captions that the draw is from (K).
        keep: Sentences that a clip keeps (K').
        keep_short: Short captions that a clip keeps.
        seed: Seed of the draw.
        rater_lf: Train on the sentences of MusicCaps too; leave it, if MusicCaps is to evaluate.
        search: 'exact' in blocks, or 'faiss'; both find the same.
        workers: Processes that search; one uses all cores.
        engine: 'local' for processes of this machine, 'ray' for a Ray cluster.
        report: Folder for a report: how often captions are used, twenty clips with theirs, and for rendered
            music how many of them are right.
        mulamcap: Folder for the labels in the form of a data set to give away, all vocabularies included.

    Raises:
        InputError: if shards are not embedded, embeddings are damaged, or a number makes no sense.
    """
    from data_pipeline.captions.embedding_units import embed_captions
    from data_pipeline.captions.embeddings import open_embeddings
    from data_pipeline.captions.labelling.labels import Labels, write_labels
    from data_pipeline.captions.labelling.units import find_nearest

    for name, value in {"top": top, "keep": keep, "keep_short": keep_short}.items():
        if value < 1:
            raise InputError(f"--{name} {value}: give 1 or more.")
    if max(keep, keep_short) > top:
        raise InputError(f"--keep {keep} and --keep_short {keep_short} cannot exceed --top {top}.")
    found = open_embeddings(embeddings)
    full = [shard for shard in read_index(shards).shards if shard.clips]
    for shard in full:
        found.read_clips(shard)  # What is missing or damaged is told before anything is written.
    listed = read_texts(vocabulary)
    used = [part for part in listed if rater_lf or part.vocabulary != "rater-lf"]
    if not used:
        raise InputError(
            f"{vocabulary} holds sentences of MusicCaps only, which are for evaluation; add others, or give "
            "--rater_lf."
        )
    labels: dict[Name, Labels] = {}
    for part in listed if mulamcap else used:
        embed_captions(found, part, workers, engine)
        many = keep_short if part.vocabulary == "rater-sf" else keep
        find_nearest(found, full, part, top, search, workers, engine)
        labels[part.vocabulary] = Labels(found, part, top, many, seed).counted(full)
    write_labels(shards, full, [labels[part.vocabulary] for part in used])
    for part_name, item in labels.items():
        among, size = int((item.counts > 0).sum()), len(item.texts.texts)
        print(f"{part_name}: {item.keep} a clip; {among} of {size} are among the {top} nearest of any clip.")
    if report:
        from data_pipeline.captions.labelling.report import write_report

        write_report(report, full, [labels[part.vocabulary] for part in used])
    if mulamcap:
        from data_pipeline.captions.labelling.mulamcap import write_mulamcap

        write_mulamcap(mulamcap, full, list(labels.values()))
