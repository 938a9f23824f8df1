"""`python -m data_pipeline label`: pseudo-labels beside the shards; audio is not touched."""

from __future__ import annotations

import sys
from pathlib import Path

from data_pipeline.captions.labelling import SearchMethod
from data_pipeline.captions.vocabulary.table import Name, Texts, read_texts
from data_pipeline.parallel import Engine
from lightning_n2m.data.schema import read_index
from lightning_n2m.errors import InputError
from lightning_n2m.storage import locate


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
    """Give every clip captions from a vocabulary (section 3.6 of the paper).

    The nearest captions of each clip are found and counted over all clips. The captions of a clip are drawn
    from its nearest with probability inverse to their count, which favours rare ones. The result is
    written to captions-*.jsonl beside the shards; training mixes it with the tracks' own texts. The labels
    depend on the embeddings, the vocabulary and the seed only.

    Args:
        shards: Folder of shards.
        embeddings: From 'python -m data_pipeline embed'; captions that it lacks are embedded first.
        vocabulary: From 'python -m data_pipeline vocabulary'.
        top: Nearest captions from which the captions of a clip are drawn (K). A kind of captions of which the
            vocabulary holds fewer is skipped: every clip would get the same.
        keep: Sentences per clip (K').
        keep_short: Short captions per clip.
        seed: Seed of the draw.
        rater_lf: Also train on the sentences of MusicCaps; not if MusicCaps is an evaluation set.
        search: 'exact' in blocks, or 'faiss'; the results are equal.
        workers: Processes that search; one uses all cores.
        engine: 'local' for processes of this machine, 'ray' for a Ray cluster.
        report: Folder for a report: use of captions, twenty labelled clips, and for rendered music the
            share of correct captions.
        mulamcap: Folder for the labels as a data set to publish, all vocabularies included.

    Raises:
        InputError: if the vocabulary is smaller than top, if shards are not embedded,
            embeddings are damaged, or an option is out of range.
    """
    from data_pipeline.captions.embedding_units import embed_captions
    from data_pipeline.captions.embeddings import open_embeddings
    from data_pipeline.captions.labelling.labels import Labels, print_summary, write_labels
    from data_pipeline.captions.labelling.units import find_nearest

    for name, value in {"top": top, "keep": keep, "keep_short": keep_short}.items():
        if value < 1:
            raise InputError(f"--{name} {value}: give 1 or more.")
    if max(keep, keep_short) > top:
        raise InputError(f"--keep {keep} and --keep_short {keep_short} cannot exceed --top {top}.")
    opened = open_embeddings(embeddings)
    full = [shard for shard in read_index(shards).shards if shard.clips]
    for shard in full:
        opened.read_clips(shard)  # Report what is missing or damaged before anything is written.
    all_texts = read_texts(vocabulary)
    used = [part for part in all_texts if rater_lf or part.vocabulary != "rater-lf"]
    if not used:
        raise InputError(
            f"{vocabulary} holds sentences of MusicCaps only, which are an evaluation set; add other "
            "captions, or give --rater_lf."
        )
    used = _large_enough(used, top, vocabulary)
    labels: dict[Name, Labels] = {}
    for part in [part for part in all_texts if len(part.texts) >= top] if mulamcap else used:
        embed_captions(opened, part, workers, engine)
        kept = keep_short if part.vocabulary == "rater-sf" else keep
        find_nearest(opened, full, part, top, search, workers, engine)
        labels[part.vocabulary] = Labels(opened, part, top, kept, seed).counted(full)
    write_labels(shards, full, [labels[part.vocabulary] for part in used])
    if report:
        from data_pipeline.captions.labelling.report import write_report

        write_report(report, full, [labels[part.vocabulary] for part in used], locate(shards))
    if mulamcap:
        from data_pipeline.captions.labelling.mulamcap import write_mulamcap

        write_mulamcap(mulamcap, full, list(labels.values()))
    print_summary(shards, full, used, labels, report, mulamcap)


def _large_enough(texts: list[Texts], top: int, vocabulary: Path) -> list[Texts]:
    """Skip the parts of a vocabulary from which every clip would get the same captions.

    Raises:
        InputError: if no part holds as many captions as are drawn from.
    """
    large = [part for part in texts if len(part.texts) >= top]
    sizes = ", ".join(f"{len(part.texts)} {part.vocabulary}" for part in texts if part not in large)
    if not large:
        raise InputError(
            f"{vocabulary} holds {sizes} captions, fewer than the {top} nearest; give more, or a smaller "
            "--top."
        )
    if sizes:
        print(
            f"Skipped: {sizes} captions, fewer than the {top} nearest that are drawn from (--top).",
            file=sys.stderr,
        )
    return large
