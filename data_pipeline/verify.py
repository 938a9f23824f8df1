"""`python -m data_pipeline verify`: check that all shards can be trained on."""

from __future__ import annotations

import dataclasses
import json as json_
import shlex
import sys
from array import array
from functools import partial

from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from data_pipeline.shards.verification import (
    check_derived_index,
    check_derived_shard,
    check_shard,
    derived_forms,
    folder_problems,
    repeated_tracks,
)
from lightning_n2m.data.schema import read_index
from lightning_n2m.errors import InputError
from lightning_n2m.storage import locate


def verify(shards: str, workers: int | None = None, engine: Engine = "local", json: bool = False) -> None:
    """Read every shard as training does, and compare it with the index.

    Checked are: sizes and checksums; every clip, decoded from end to end, with its rate, channels, length,
    metadata and NaN or infinite samples; splits by track; tracks in two shards; captions of clips that do
    not exist; derived forms. The exit code is 0 only if there is no problem.

    Args:
        shards: Folder of shards, or its URL.
        workers: Processes that read; all cores when none is given.
        engine: Where they run: on this machine, or on a Ray cluster.
        json: Print the report as JSON.

    Raises:
        InputError: if there is a problem.
    """
    folder = locate(shards)
    index = read_index(folder)
    tracks: array[int] = array("Q")
    clips, seconds = 0, 0.0
    problems = list(folder_problems(folder, index))
    with progress("verifying", sum(item.clips for item in index.shards), "clips") as report:
        work = partial(check_shard, folder=folder, index=dataclasses.replace(index, shards=()))
        for checked in run(work, index.shards, workers, engine):
            clips += checked.clips
            seconds += checked.clips * index.clip_seconds
            tracks.extend(checked.tracks)
            problems += checked.problems
            report(checked.shard.clips)
    problems += repeated_tracks(tracks)
    for form in derived_forms(folder):
        derived, index_problems = check_derived_index(folder, index, form)
        problems += index_problems
        if derived is not None:
            with progress(f"verifying {form}", sum(item.clips for item in derived.shards), "clips") as report:
                header = dataclasses.replace(derived, shards=())
                work_derived = partial(check_derived_shard, folder=folder, index=header, name=form)
                for shard_clips, shard_problems in run(work_derived, derived.shards, workers, engine):
                    problems += shard_problems
                    report(shard_clips)
    problems.sort(key=lambda item: (item.shard, item.problem))
    damaged = len({item.shard for item in problems})
    if json:
        counts = {"shards": len(index.shards), "clips": clips, "hours": round(seconds / 3600, 4)}
        listed = [dataclasses.asdict(item) for item in problems]
        print(json_.dumps({**counts, "tracks": len(tracks), "problems": listed}, ensure_ascii=False))
    else:
        for item in problems:
            print(f"{item.shard}: {item.problem}", file=sys.stderr)
        print(
            f"{len(index.shards)} shards, {clips} clips of {len(tracks)} tracks, {seconds / 3600:.2f} hours: "
            + (f"{damaged} with problems." if problems else "all is well.")
        )
        if not problems:
            recipe = "configs/starter/spectrogram_generator.yaml"
            print(f"Next: python -m lightning_n2m fit -c {recipe} --data.shards {shlex.quote(str(folder))}")
    if problems:
        first = problems[0]
        raise InputError(
            f"{damaged} of {len(index.shards)} shards of {folder} cannot be trusted, the first of them "
            f"{first.shard} ({first.problem}); delete them and run 'python -m data_pipeline shard' again."
        )
