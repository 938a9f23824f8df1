"""`python -m data_pipeline shard`: clips of a manifest's tracks, packed into tar files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from data_pipeline import track as tracks
from data_pipeline.aside import sweep, write_aside
from data_pipeline.clips import TOLERANCE, cut, starts
from data_pipeline.engine import run
from data_pipeline.layout import RECORDS, Result, Unit, plan
from data_pipeline.progress import progress
from data_pipeline.tar import checksum, write_tar
from data_pipeline.track import REJECTED, Rejected, Track, read_manifest
from lightning_n2m.data.schema import INDEX, SAMPLE_RATE, Index, Shard
from lightning_n2m.errors import InputError

_PLAN = "plan.json"


def shard(
    manifest: Path,
    output: Path,
    workers: int | None = None,
    clips_per_track: int = 6,
    clip_seconds: float = 30.0,
    tracks_per_shard: int = 16,
    validation: float = 0.05,
    test: float = 0.05,
) -> None:
    """Cut the tracks of a manifest into clips, and pack these into shards.

    Up to six clips that do not overlap are spread evenly over each track (section 3.5 of the paper),
    as 24 kHz mono FLAC. Splits go by track. A shard is the unit of work: it is written aside and
    renamed when it is whole, so that a killed job, run again, does only what is missing. The bytes
    do not depend on the number of workers.

    Args:
        manifest: From 'python -m data_pipeline manifest'.
        output: Folder of the shards.
        workers: Processes; all cores when none is given.
        clips_per_track: Clips of a track, at most.
        clip_seconds: Length of a clip in seconds.
        tracks_per_shard: Tracks of a shard, at most.
        validation: Share of tracks that validate.
        test: Share of tracks that test.

    Raises:
        InputError: if the manifest is damaged, a number makes no sense, or the folder holds other shards.
    """
    _check(clips_per_track=clips_per_track, clip_seconds=clip_seconds, tracks_per_shard=tracks_per_shard)
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise InputError(f"--validation {validation:g} and --test {test:g} must leave tracks to train on.")
    listed = read_manifest(manifest)
    settings: dict[str, Any] = {
        "clips_per_track": clips_per_track,
        "clip_seconds": clip_seconds,
        "tracks_per_shard": tracks_per_shard,
        "validation": validation,
        "test": test,
        "tracks": hashlib.sha256("\n".join(sorted(map(_fingerprint, listed))).encode()).hexdigest(),
    }
    usable = [item for item in listed if item.seconds >= clip_seconds - TOLERANCE]
    short = [
        Rejected(item.source, "too short", f"{item.seconds:.2f} s, less than one clip of {clip_seconds:g} s")
        for item in listed
        if item.seconds < clip_seconds - TOLERANCE
    ]
    if not usable:
        raise InputError(
            f"No track of {manifest} is as long as a clip of {clip_seconds:g} s; give fewer --clip_seconds."
        )
    (output / RECORDS).mkdir(parents=True, exist_ok=True)
    _claim(output, settings)
    sweep(output)
    sweep(output / RECORDS)
    units = plan(usable, settings, str(output))
    missing = [unit for unit in units if not unit.is_done()]
    amount = {
        unit.name: sum(len(starts(item, clips_per_track, clip_seconds)) for item in unit.tracks)
        for unit in units
    }
    total = sum(amount.values())
    with progress("sharding", total, "clips", total - sum(amount[unit.name] for unit in missing)) as report:
        for name in run(pack, missing, workers):
            report(amount[name])
    results = [unit.result() for unit in units]
    rejected = sorted(
        short + [item for result in results for item in result.rejected], key=lambda item: item.path
    )
    index = Index(tuple(result.shard for result in results), SAMPLE_RATE, clip_seconds, settings)
    tracks.write_lines(output / REJECTED, rejected)
    write_aside(output / INDEX, index.to_json())
    for split in ("train", "validation", "test"):
        shards = index.of(split)
        clips, seconds = sum(item.clips for item in shards), sum(item.seconds for item in shards)
        print(f"{split}: {len(shards)} shards, {clips} clips, {seconds / 3600:.2f} hours")
    print(f"{output / INDEX} is ready; tracks left out: {tracks.counts(rejected)}.")


def _check(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0:
            raise InputError(f"--{name} {value:g}: give a number above 0.")


def _fingerprint(item: Track) -> str:
    """All that a shard depends on: the same collection in another place gives the same shards."""
    return dataclasses.replace(item, path="").to_json()


def _claim(output: Path, settings: dict[str, Any]) -> None:
    path = output / RECORDS / _PLAN
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if different := sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key)):
            raise InputError(
                f"{output} holds shards made with other {' and '.join(different)}; "
                "give another --output, or delete the folder."
            )
        return
    if any(output.glob("audio-*.tar")) or (output / INDEX).exists():
        raise InputError(
            f"{output} holds shards of unknown settings; give another --output, or delete the folder."
        )
    write_aside(path, json.dumps(settings, sort_keys=True) + "\n")


def pack(unit: Unit) -> str:
    """Make one shard.

    Returns:
        Its name.
    """
    rejected = []
    clips, seconds = 0, 0.0
    with write_tar(unit.audio) as add:
        for item in unit.tracks:
            try:
                members = cut(item, unit.clips_per_track, unit.clip_seconds)
            except (InputError, OSError) as error:
                reason = str(error).replace(item.path, item.source)
                rejected.append(Rejected(item.source, "unreadable", reason))
                continue
            for clip, audio in members:
                add(f"{clip.key}.flac", audio)
                add(f"{clip.key}.json", clip.to_json())
                clips, seconds = clips + 1, seconds + clip.duration_s
    made = Shard(unit.name, unit.split, clips, seconds, unit.audio.stat().st_size, checksum(unit.audio))
    result = Result(made, tuple(rejected))
    write_aside(
        unit.record, json.dumps(dataclasses.asdict(result), ensure_ascii=False, sort_keys=True) + "\n"
    )
    return unit.name
