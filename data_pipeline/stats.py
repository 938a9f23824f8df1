"""`python -m data_pipeline stats`: statistics of a shard folder, as a page with charts and example clips."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from data_pipeline.shards.shard_stats import ShardStats, count_shard, summary
from lightning_n2m.data.schema import read_index
from lightning_n2m.html_page import printable
from lightning_n2m.storage import locate, write_atomic


def stats(shards: str, output: Path, workers: int | None = None, engine: Engine = "local") -> None:
    """Describe a shard folder: hours, levels, bandwidths, genres, tags, years, licences and captions.

    OUTPUT/index.html shows them as charts, with six randomly drawn clips and their spectrograms;
    OUTPUT/stats.json holds the numbers.

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
    total = ShardStats()
    non_empty = [shard for shard in index.shards if shard.clips]
    with progress("counting", sum(shard.clips for shard in non_empty), "clips") as report:
        for clips, part in run(partial(count_shard, folder=folder), non_empty, workers, engine):
            total.add(part)
            report(clips)
    values = summary(total)
    write_atomic(output / "stats.json", json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    write_page(output, title=printable(shards), values=values, examples=[item for _, item in total.examples])
    print(
        f"{values['clips']} clips of {values['tracks']} tracks, {values['hours']:.2f} hours: "
        f"see {output / 'index.html'}."
    )
