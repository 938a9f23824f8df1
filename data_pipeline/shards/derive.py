"""Derived forms of finished shards: a low rate or log-mels, made once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from data_pipeline.shards.shard_plan import RECORDS
from data_pipeline.tar import write_tar
from lightning_n2m.data.schema import INDEX, SAMPLE_RATE, Index, Shard, read_index
from lightning_n2m.data.shard_reader import ShardFile, read_shard
from lightning_n2m.errors import InputError
from lightning_n2m.storage import (
    Location,
    join,
    make_folder,
    read_bytes,
    remove_partial_files,
    size,
    write_atomic,
)

if TYPE_CHECKING:
    from lightning_n2m.data.derived_audio import TrainingFormat


def form_of(name: str) -> TrainingFormat:
    """The form that ``--derive`` names.

    Raises:
        InputError: if it is neither a rate below the master's nor ``mel``.
    """
    from lightning_n2m.audio.mel import MelSettings
    from lightning_n2m.data.derived_audio import MEL, TrainingFormat

    if name == MEL:
        settings = MelSettings()
        return TrainingFormat(settings.sample_rate, settings)
    if not (name.isdecimal() and 0 < int(name) < SAMPLE_RATE):
        raise InputError(f"--derive {name}: give a rate in Hz below {SAMPLE_RATE}, or 'mel'.")
    return TrainingFormat(int(name))


def derive(folder: Location, name: str, workers: int | None = None, engine: Engine = "local") -> None:
    """Make a form of all shards of a folder, in a sub-folder of its name.

    Args:
        folder: Of finished shards.
        name: A rate in Hz, or ``mel``.
        workers: Processes; all cores when none is given.
        engine: Where they run.

    Raises:
        InputError: if the name is of no form, or a shard is damaged.
    """
    form, index = form_of(name), read_index(folder)
    target = join(folder, form.name)
    make_folder(join(target, RECORDS))
    remove_partial_files(target)
    remove_partial_files(join(target, RECORDS))
    settings = form.settings(index.shards)
    missing = [shard for shard in index.shards if _made(target, shard, form) is None]
    done = sum(shard.clips for shard in index.shards) - sum(shard.clips for shard in missing)
    total = sum(shard.clips for shard in index.shards)
    with progress(f"deriving {form.name}", total, "clips", done) as report:
        for clips in run(partial(make, folder=folder, form=form), missing, workers, engine):
            report(clips)
    made = tuple(_all_made(target, index.shards, form))
    result = Index(made, form.sample_rate, index.clip_seconds, settings)
    write_atomic(join(target, INDEX), result.to_json())
    share = sum(shard.bytes for shard in made) / sum(shard.bytes for shard in index.shards)
    print(f"{join(target, INDEX)} is ready: {total} clips, {100 * share:.0f} % of the master's size.")


def _made(target: Location, parent: Shard, form: TrainingFormat) -> Shard | None:
    """The finished form of a shard, if it is there and of this very shard."""
    place = join(target, f"{RECORDS}/{parent.name.removesuffix('.tar')}.json")
    if size(place) is None:
        return None
    values = json.loads(read_bytes(place))
    found = Shard(**values["shard"])
    same = values["form"] == form.settings((parent,))
    return found if same and size(join(target, found.name)) == found.bytes else None


def _all_made(target: Location, parents: tuple[Shard, ...], form: TrainingFormat) -> Iterator[Shard]:
    for parent in parents:
        found = _made(target, parent, form)
        assert found is not None, f"{parent.name} is gone from {target}"
        yield found


def make(parent: Shard, folder: Location, form: TrainingFormat) -> int:
    """Derive one shard.

    Returns:
        Its number of clips.
    """
    from lightning_n2m.audio.io import read, to_mono
    from lightning_n2m.data.derived_audio import to_bytes

    target = join(folder, form.name)
    with write_tar(join(target, parent.name)) as tar:
        for raw in read_shard(ShardFile(folder, parent)):
            audio = read(raw.audio)
            tar.add(f"{raw.clip.key}.npy", to_bytes(form.of(to_mono(audio.samples), audio.sample_rate)))
            clip = dataclasses.replace(raw.clip, sample_rate=form.sample_rate)
            tar.add(f"{clip.key}.json", clip.to_json())
    shard = dataclasses.replace(parent, bytes=tar.bytes, sha256=tar.sha256)
    place = join(target, f"{RECORDS}/{parent.name.removesuffix('.tar')}.json")
    # What tells later that it is done: its line of the index, its parent and its form.
    record = {"shard": dataclasses.asdict(shard), "form": form.settings((parent,))}
    write_atomic(place, json.dumps(record, sort_keys=True) + "\n")
    return parent.clips
