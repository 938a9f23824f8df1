"""`python -m data_pipeline label`: pseudo-labels, beside the shards and without touching audio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from data_pipeline.aside import write_aside
from data_pipeline.embed import embed_captions
from data_pipeline.engine import Engine, run
from data_pipeline.progress import progress
from data_pipeline.vocabularies.table import Name, Texts, read_texts
from lightning_n2m.data.schema import Captions, Index, Shard, read_index
from lightning_n2m.errors import InputError
from lightning_n2m.storage import join, locate

if TYPE_CHECKING:
    from data_pipeline.embeddings import Embeddings
    from data_pipeline.labelling.labels import Labels

Search = Literal["exact", "faiss"]
_AT_ONCE = 1024  # Clips of a unit of search: a vocabulary is read once for so many.


def label(
    shards: str,
    embeddings: Path,
    vocabulary: Path,
    top: int = 10,
    keep: int = 3,
    keep_short: int = 6,
    seed: int = 0,
    rater_lf: bool = False,
    search: Search = "exact",
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
    from data_pipeline.embeddings import open_embeddings
    from data_pipeline.labelling.labels import Labels

    for name, value in {"top": top, "keep": keep, "keep_short": keep_short}.items():
        if value < 1:
            raise InputError(f"--{name} {value}: give 1 or more.")
    if max(keep, keep_short) > top:
        raise InputError(f"--keep {keep} and --keep_short {keep_short} cannot exceed --top {top}.")
    index, found = read_index(shards), open_embeddings(embeddings)
    full = [shard for shard in index.shards if shard.clips]
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
        _search(found, full, part, top, search, workers, engine)
        labels[part.vocabulary] = Labels(found, part, top, many, seed).counted(full)
    _write(shards, full, [labels[part.vocabulary] for part in used])
    _tell(index, labels)
    if report:
        from data_pipeline.labelling.report import write_report

        write_report(report, full, [labels[part.vocabulary] for part in used])
    if mulamcap:
        from data_pipeline.labelling.mulamcap import write_mulamcap

        write_mulamcap(mulamcap, full, list(labels.values()))


@dataclass(frozen=True)
class SearchUnit:
    """Some shards whose nearest captions are to be found."""

    embeddings: Embeddings
    shards: tuple[Shard, ...]
    texts: Texts
    top: int
    search: Search


def _search(
    found: Embeddings,
    shards: list[Shard],
    texts: Texts,
    top: int,
    search: Search,
    workers: int,
    engine: Engine,
) -> None:
    """Find the nearest captions of all shards for which they are not known yet."""
    missing = [shard for shard in shards if not found.nearest(shard, texts, top).is_file()]
    groups: list[list[Shard]] = [[]]
    for shard in missing:
        if groups[-1] and sum(item.clips for item in groups[-1]) + shard.clips > _AT_ONCE:
            groups.append([])
        groups[-1].append(shard)
    units = [SearchUnit(found, tuple(group), texts, top, search) for group in groups if group]
    total = sum(shard.clips for shard in shards)
    done = total - sum(shard.clips for shard in missing)
    with progress(f"searching {texts.vocabulary}", total, "clips", done) as report:
        for count in run(search_shards, units, workers, engine):
            report(count)


def search_shards(unit: SearchUnit) -> int:
    """Find the nearest captions of the clips of some shards, and keep them.

    Returns:
        The number of clips.
    """
    import io

    import numpy as np

    from data_pipeline.labelling.search import nearest, nearest_by_faiss

    found = unit.embeddings
    captions = [found.read(path) for path in found.captions(unit.texts)]
    if sum(map(len, captions)) != len(unit.texts.texts):
        raise InputError(
            f"{found.folder} holds another number of {unit.texts.vocabulary} captions than the vocabulary; "
            f"delete {found.captions(unit.texts)[0].parent} and label again."
        )
    vectors = [np.array(found.read_clips(shard)[1]) for shard in unit.shards]
    find = nearest if unit.search == "exact" else nearest_by_faiss
    result = find(np.concatenate(vectors), captions, unit.top)
    start = 0
    for shard, part in zip(unit.shards, vectors, strict=True):
        path = found.nearest(shard, unit.texts, unit.top)
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        np.save(stream, result.captions[start : start + len(part)])
        write_aside(path, stream.getvalue())
        start += len(part)
    return start


def _write(folder: str, shards: list[Shard], labels: list[Labels]) -> None:
    """Write captions-*.jsonl, each of them whole or as it was."""
    for shard in shards:
        lines = []
        drawn = {item.texts.vocabulary: item.drawn(shard) for item in labels}
        for number, clip in enumerate(labels[0].clips(shard)):
            of = {name: found[number] for name, found in drawn.items()}
            long = tuple(dict.fromkeys((*of.get("lm-lf", ()), *of.get("rater-lf", ()))))
            lines.append(Captions(clip.key, long, of.get("rater-sf", ())).to_json() + "\n")
        write_aside(join(locate(folder), shard.captions_name), "".join(lines))


def _tell(index: Index, labels: dict[Name, Labels]) -> None:
    clips = sum(shard.clips for shard in index.shards)
    for name, item in labels.items():
        used = int((item.counts > 0).sum())
        print(
            f"{name}: {clips} clips have {item.keep} of {len(item.texts.texts)} captions each; "
            f"{used} of these are among the {item.top} nearest of any clip."
        )
