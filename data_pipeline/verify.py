"""`python -m data_pipeline verify`: whether all shards can be trained on."""

from __future__ import annotations

import dataclasses
import hashlib
import json as json_
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from lightning_n2m.data.schema import INDEX, Index, Shard, read_captions, read_index, split_of
from lightning_n2m.data.shard_reader import RawClip, ShardFile, read_shard
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, join, locate, names, open_read, size


@dataclass(frozen=True)
class Problem:
    """What is wrong with which shard."""

    shard: str
    problem: str


@dataclass(frozen=True)
class Checked:
    """A shard that was read: its clips, the identities of its tracks, and what is wrong."""

    shard: Shard
    clips: int
    tracks: array[int]
    problems: tuple[Problem, ...]


def verify(shards: str, workers: int | None = None, engine: Engine = "local", json: bool = False) -> None:
    """Read every shard as training would, and compare it with the index.

    Sizes and checksums, every clip decoded from end to end, its rate, channels and length, numbers
    that are none, splits by track, tracks that lie in two shards, captions of clips that are not
    there, derived forms. The exit code is 0 only if all is well.

    Args:
        shards: Folder of shards, or its URL.
        workers: Processes that read; all cores when none is given.
        engine: Where they run: on this machine, or on a Ray cluster.
        json: Print the report as JSON.

    Raises:
        InputError: if anything is wrong.
    """
    folder = locate(shards)
    index = read_index(folder)
    tracks: array[int] = array("Q")
    clips, seconds = 0, 0.0
    problems = list(_strangers(folder, index))
    with progress("verifying", sum(item.clips for item in index.shards), "clips") as report:
        for checked in run(partial(check, folder=folder, index=index), index.shards, workers, engine):
            clips += checked.clips
            seconds += checked.clips * index.clip_seconds
            tracks.extend(checked.tracks)
            problems += checked.problems
            report(checked.shard.clips)
    problems += _twice(tracks)
    for form in names(folder, "directory"):
        if size(join(folder, f"{form}/{INDEX}")) is not None:
            derived = read_index(join(folder, form))
            look = partial(check_derived, folder=folder, index=derived, form=form)
            for found in run(look, derived.shards, workers, engine):
                problems += found
    problems.sort(key=lambda item: (item.shard, item.problem))
    bad = len({item.shard for item in problems})
    if json:
        figures = {"shards": len(index.shards), "clips": clips, "hours": round(seconds / 3600, 4)}
        listed = [dataclasses.asdict(item) for item in problems]
        print(json_.dumps({**figures, "tracks": len(tracks), "problems": listed}, ensure_ascii=False))
    else:
        for item in problems:
            print(f"{item.shard}: {item.problem}", file=sys.stderr)
        print(
            f"{len(index.shards)} shards, {clips} clips of {len(tracks)} tracks, {seconds / 3600:.2f} hours: "
            + (f"{bad} with problems." if problems else "all is well.")
        )
    if problems:
        first = problems[0]
        raise InputError(
            f"{bad} of {len(index.shards)} shards of {folder} cannot be trusted, the first of them "
            f"{first.shard} ({first.problem}); delete them and run 'python -m data_pipeline shard' again."
        )


def _strangers(folder: Location, index: Index) -> Iterator[Problem]:
    listed = {shard.name for shard in index.shards}
    for name in names(folder):
        if name.startswith("audio-") and name.endswith(".tar") and name not in listed:
            yield Problem(name, "the index does not list it")


def _twice(tracks: array[int]) -> Iterator[Problem]:
    import numpy as np

    found = np.sort(np.frombuffer(tracks, np.uint64)) if tracks else np.zeros(0, np.uint64)
    for track in np.unique(found[1:][found[1:] == found[:-1]]):
        yield Problem(INDEX, f"track {track:016x} lies in more than one shard")


def check(shard: Shard, folder: Location, index: Index) -> Checked:
    """Read one shard from end to end."""
    file = ShardFile(folder, shard)
    tracks: dict[int, None] = {}
    problems: list[str] = []
    keys: set[str] = set()
    try:
        problems += _as_listed(file)
        for raw in read_shard(file):
            problems += _of_clip(raw, shard, index)
            if raw.clip.key in keys:
                problems.append(f"clip {raw.clip.key} is there twice")
            keys.add(raw.clip.key)
            tracks[_number_of(raw.clip.track_id)] = None
        if unknown := sorted(set(read_captions(file.captions)) - keys):
            problems.append(f"{shard.captions_name} labels {unknown[0]}, which is not in it")
    except (InputError, OSError) as error:
        problems.append(str(error).rstrip("."))
    found = tuple(Problem(shard.name, text) for text in problems)
    return Checked(shard, len(keys), array("Q", tracks), found)


def _number_of(track_id: str) -> int:
    try:
        return int(track_id, 16)
    except ValueError:
        raise InputError(f"track {track_id} is not named by 16 hexadecimal digits") from None


def check_derived(shard: Shard, folder: Location, index: Index, form: str) -> list[Problem]:
    """Read one shard of a derived form."""
    from lightning_n2m.data.derived_audio import from_bytes

    file = ShardFile(folder, shard, form)
    hop = (index.settings.get("mel") or {}).get("hop", 1)
    problems: list[str] = []
    try:
        problems += _as_listed(file)
        for raw in read_shard(file):
            from_bytes(raw.audio, 0, round(raw.clip.duration_s * index.sample_rate) // hop)
    except (InputError, ValueError, OSError) as error:
        problems.append(str(error).rstrip("."))
    return [Problem(f"{form}/{shard.name}", text) for text in problems]


def _as_listed(file: ShardFile) -> Iterator[str]:
    found = size(file.path)
    if found is None:
        yield "it is missing"
    elif found != file.shard.bytes:
        yield f"it has {found} bytes, but its index says {file.shard.bytes}"
    else:
        with open_read(file.path) as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != file.shard.sha256:  # type: ignore[arg-type]
                yield "its checksum is not the one in the index"


def _of_clip(raw: RawClip, shard: Shard, index: Index) -> Iterator[str]:
    import torch

    from lightning_n2m.audio import io

    key, clip = raw.clip.key, raw.clip
    try:
        audio = io.read(raw.audio)
    except InputError as error:
        yield f"clip {key}: {str(error).rstrip('.')}"
        return
    channels, frames = audio.samples.shape
    if (audio.sample_rate, clip.sample_rate) != (index.sample_rate, index.sample_rate):
        yield f"clip {key} is at {audio.sample_rate} Hz, but the index says {index.sample_rate}"
    if channels != 1:
        yield f"clip {key} has {channels} channels"
    if frames != round(clip.duration_s * audio.sample_rate):
        yield f"clip {key} is {frames / audio.sample_rate:.3f} s long, but {clip.duration_s:g} s were cut"
    if not torch.isfinite(audio.samples).all():
        yield f"clip {key} holds samples that are no numbers"
    shares = [index.settings.get(name) for name in ("validation", "test")]
    if None not in shares and (clip.split or split_of(clip.track_id, *shares)) != shard.split:  # type: ignore[arg-type]
        yield f"clip {key} belongs to another split than {shard.split}"
