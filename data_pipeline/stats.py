"""`python -m data_pipeline stats`: what a shard folder holds, in figures and pictures."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from data_pipeline.shards.shard_stats import Part, describe, summary
from lightning_n2m.data.schema import read_index
from lightning_n2m.storage import locate, write_atomic


def stats(shards: str, output: Path, workers: int | None = None, engine: Engine = "local") -> None:
    """Describe a shard folder: hours, levels, bandwidths, genres, tags, years, licences and captions.

    OUTPUT/index.html shows them with pictures and six clips, drawn at random, to look at and to listen
    to; OUTPUT/stats.json holds the figures.

    Args:
        shards: Folder of shards, or its URL.
        output: Folder of the page.
        workers: Processes that read; all cores when none is given.
        engine: Where they run: on this machine, or on a Ray cluster.

    Raises:
        InputError: if a shard cannot be read.
    """
    from data_pipeline.shards.stats_page import write_page

    folder = locate(shards)
    index = read_index(folder)
    output.mkdir(parents=True, exist_ok=True)
    total = Part()
    full = [shard for shard in index.shards if shard.clips]
    with progress("counting", sum(shard.clips for shard in full), "clips") as report:
        for clips, part in run(partial(describe, folder=folder), full, workers, engine):
            total.add(part)
            report(clips)
    figures = summary(total)
    write_atomic(output / "stats.json", json.dumps(figures, ensure_ascii=False, indent=1) + "\n")
    write_page(output, str(shards), figures, [example for _, example in total.examples])
    print(
        f"{figures['clips']} clips of {figures['tracks']} tracks, {figures['hours']:.2f} hours: "
        f"see {output / 'index.html'}."
    )
