"""Derived forms of finished shards: audio at a low rate, or log-mels, computed once."""

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
from lightning_n2m.data.json_fields import FieldError, parse_json
from lightning_n2m.data.schema import INDEX, SAMPLE_RATE, Index, Shard, read_index, read_shard_fields
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
    from lightning_n2m.data.derived_features import FeatureForm

    Form = TrainingFormat | FeatureForm

_MAX_RECORD = 1 << 20  # Bytes of the record of one shard.


def form_of(name: str) -> Form:
    """The form that ``--derive`` names.

    Raises:
        InputError: if it is neither a rate below the master's nor ``mel``, ``musicnn`` or ``chroma``.
    """
    from lightning_n2m.audio.mel import MelSettings
    from lightning_n2m.data.derived_audio import MEL, TrainingFormat
    from lightning_n2m.data.derived_features import CHANNELS, FeatureForm

    if name in CHANNELS:
        return FeatureForm(name)
    if name == MEL:
        settings = MelSettings()
        return TrainingFormat(settings.sample_rate, settings)
    if not (name.isdecimal() and 0 < int(name) < SAMPLE_RATE):
        raise InputError(
            f"--derive {name}: give a rate in Hz below {SAMPLE_RATE}, 'mel', 'musicnn' or 'chroma'."
        )
    return TrainingFormat(int(name))


def derive(folder: Location, name: str, workers: int | None = None, engine: Engine = "local") -> None:
    """Compute a form of all shards of a folder, in a sub-folder of its name.

    Args:
        folder: Folder of finished shards.
        name: A rate in Hz, ``mel``, or features for auxiliary losses: ``musicnn``, ``chroma``.
        workers: Processes; all cores when none is given.
        engine: Where they run.

    Raises:
        InputError: if the name is not a form, or a shard is damaged.
    """
    form, index = form_of(name), read_index(folder)
    target = join(folder, form.name)
    make_folder(join(target, RECORDS))
    remove_partial_files(target)
    remove_partial_files(join(target, RECORDS))
    missing = [shard for shard in index.shards if _derived_shard(target, shard, form) is None]
    total = sum(shard.clips for shard in index.shards)
    done = total - sum(shard.clips for shard in missing)
    with progress(f"deriving {form.name}", total, "clips", done) as report:
        for clips in run(partial(derive_shard, folder=folder, form=form), missing, workers, engine):
            report(clips)
    derived = tuple(_all_derived(target, index.shards, form))
    result = Index(derived, form.sample_rate, index.clip_seconds, form.settings(index.shards))
    write_atomic(join(target, INDEX), result.to_json())
    share = sum(shard.bytes for shard in derived) / sum(shard.bytes for shard in index.shards)
    print(f"{join(target, INDEX)} is ready: {total} clips, {100 * share:.0f} % of the master's size.")


def _record(target: Location, parent: Shard) -> Location:
    return join(target, f"{RECORDS}/{parent.name.removesuffix('.tar')}.json")


def _derived_shard(target: Location, parent: Shard, form: Form) -> Shard | None:
    """The finished form of a shard, if it exists and was derived from this version of the shard."""
    record = _record(target, parent)
    if size(record) is None:
        return None
    try:
        values = parse_json(read_bytes(record), _MAX_RECORD)
        shard = read_shard_fields(values["shard"])
        same = values["form"] == form.settings((parent,)) and shard.name == parent.name
    except (FieldError, TypeError, KeyError):
        return None
    return shard if same and size(join(target, shard.name)) == shard.bytes else None


def _all_derived(target: Location, parents: tuple[Shard, ...], form: Form) -> Iterator[Shard]:
    for parent in parents:
        shard = _derived_shard(target, parent, form)
        if shard is None:
            raise InputError(f"{parent.name} was removed from {target}; run the same command again.")
        yield shard


def derive_shard(parent: Shard, folder: Location, form: Form) -> int:
    """Derive one shard.

    Returns:
        Its number of clips.

    Raises:
        InputError: if the shard or a clip is damaged.
    """
    from lightning_n2m.audio.io import to_mono
    from lightning_n2m.data.clip_audio import read_clip
    from lightning_n2m.data.derived_audio import to_bytes

    target = join(folder, form.name)
    with write_tar(join(target, parent.name)) as tar:
        for raw in read_shard(ShardFile(folder, parent)):
            try:
                audio = read_clip(raw)
            except InputError as error:
                reason = str(error).rstrip(".")
                raise InputError(
                    f"Clip {raw.clip.key} of {raw.shard} cannot be used: {reason}; build its shard again."
                ) from error
            tar.add(f"{raw.clip.key}.npy", to_bytes(form.of(to_mono(audio.samples), audio.sample_rate)))
            clip = dataclasses.replace(raw.clip, sample_rate=form.sample_rate)
            tar.add(f"{clip.key}.json", clip.to_json())
    shard = dataclasses.replace(parent, bytes=tar.bytes, sha256=tar.sha256)
    # The record states that the shard is complete: its line of the index, its parent and its form.
    record = {"shard": dataclasses.asdict(shard), "form": form.settings((parent,))}
    write_atomic(_record(target, parent), json.dumps(record, sort_keys=True) + "\n")
    return parent.clips
