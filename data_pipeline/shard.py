"""`python -m data_pipeline shard`: clips of a manifest's tracks, packed into tar files."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from data_pipeline.scan import track as tracks
from data_pipeline.scan.file_scan import check_mounted
from data_pipeline.scan.track import REJECTED, Rejected, Track, read_track
from data_pipeline.shards import derive as derived
from data_pipeline.shards.clip_cutter import Cutting, cut
from data_pipeline.shards.shard_plan import RECORDS, Outline, Place, Result, Survey, plan, rejected, survey
from data_pipeline.tar import write_tar
from lightning_n2m.data.schema import INDEX, SAMPLE_RATE, Index, Shard
from lightning_n2m.errors import InputError
from lightning_n2m.storage import (
    Location,
    is_url,
    join,
    locate,
    make_folder,
    names,
    read_bytes,
    remove_partial_files,
    size,
    write_atomic,
)

_PLAN = "plan.json"


def shard(
    output: str,
    manifest: Path | None = None,
    workers: int | None = None,
    engine: Engine = "local",
    derive: str | None = None,
    clips_per_track: int = 6,
    clip_seconds: float = 30.0,
    spacing_seconds: float | None = None,
    format: Literal["flac", "opus"] = "flac",
    kbps: int = 96,
    tracks_per_shard: int = 16,
    validation: float = 0.05,
    test: float = 0.05,
) -> None:
    """Cut the tracks of a manifest into clips, and pack these into shards.

    Up to six clips that do not overlap are spread evenly over each track (section 3.5 of the paper),
    as 24 kHz mono FLAC. Splits go by track. A shard is the unit of work: it is written aside and
    renamed when it is whole, so that a killed job, run again, does only what is missing. The bytes
    depend neither on the number of workers nor on the engine.

    With --derive the clips are also kept in the form that a stage trains on, beside the shards: its
    loader then does not decode 24 kHz audio to throw most of it away.

    Args:
        output: Folder of the shards, or its URL (s3://, gs://).
        manifest: From 'python -m data_pipeline manifest'; not needed to derive from finished shards.
        workers: Processes; all cores when none is given.
        engine: Where they run: on this machine, or on a Ray cluster.
        derive: Also keep clips at this rate in Hz (3200), or as log-mels (mel).
        clips_per_track: Clips of a track, at most.
        clip_seconds: Length of a clip in seconds.
        spacing_seconds: Seconds between the clips of a track; spread evenly over it when none is given.
        format: How audio is stored: without loss, or at a fraction of the size.
        kbps: Bit rate of Opus in thousands of bits a second.
        tracks_per_shard: Tracks of a shard, at most.
        validation: Share of tracks that validate.
        test: Share of tracks that test.

    Raises:
        InputError: if the manifest is damaged, a number makes no sense, or the folder holds other shards.
    """
    _check(clips_per_track=clips_per_track, clip_seconds=clip_seconds, tracks_per_shard=tracks_per_shard)
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise InputError(f"--validation {validation:g} and --test {test:g} must leave tracks to train on.")
    if spacing_seconds is not None and not spacing_seconds >= 0:
        raise InputError(f"--spacing_seconds {spacing_seconds:g}: give 0 or more.")
    if derive is not None:
        derived.form_of(derive)  # refused before the work, not after it
    if not 6 <= kbps <= 256:
        raise InputError(f"--kbps {kbps}: Opus takes 6 to 256.")
    if output.startswith("memory://") and (engine != "local" or workers != 1):
        raise InputError(f"{output} is seen by one process only; give --workers 1.")
    folder = locate(output)
    if manifest is not None:
        cutting = Cutting(clips_per_track, clip_seconds, spacing_seconds, format, kbps)
        _build(manifest, folder, cutting, tracks_per_shard, (validation, test), workers, engine)
    elif derive is None:
        raise InputError("--manifest is missing; build one with 'python -m data_pipeline manifest'.")
    if derive is not None:
        derived.derive(folder, derive, workers, engine)


def _build(
    manifest: Path,
    folder: Location,
    cutting: Cutting,
    tracks_per_shard: int,
    shares: tuple[float, float],
    workers: int | None,
    engine: Engine,
) -> None:
    found = survey(manifest, cutting.count, *shares)
    if not found.ids:
        raise InputError(
            f"No track of {manifest} is as long as a clip of {cutting.seconds:g} s; lower --clip_seconds."
        )
    settings: dict[str, Any] = {
        "clips_per_track": cutting.clips,
        "clip_seconds": cutting.seconds,
        "spacing_seconds": cutting.spacing,
        "format": cutting.format,
        "kbps": cutting.kbps if cutting.format == "opus" else None,
        "tracks_per_shard": tracks_per_shard,
        "validation": shares[0],
        "test": shares[1],
        "tracks": found.fingerprint,
    }
    make_folder(join(folder, RECORDS))
    _claim(folder, settings)
    remove_partial_files(folder)
    remove_partial_files(join(folder, RECORDS))
    amount, finished, done = {}, 0, set()
    for outline in plan(found, tracks_per_shard):
        amount[outline.name] = outline.clips
        if Place(str(folder), outline.name).result():
            done.add(outline.name)
            finished += outline.clips
    missing = (outline for outline in plan(found, tracks_per_shard) if outline.name not in done)
    units = (_unit(outline, found, cutting, folder) for outline in missing)
    with progress("sharding", sum(amount.values()), "clips", finished) as report:
        for name in run(pack, units, workers, engine):
            report(amount[name])
    _finish(folder, found, cutting, settings, [Place(str(folder), name) for name in amount])


def _check(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0:
            raise InputError(f"--{name} {value:g}: give a number above 0.")


def _claim(folder: Location, settings: dict[str, Any]) -> None:
    """Take a folder for shards of these settings, or make sure that it already is one."""
    path = join(folder, f"{RECORDS}/{_PLAN}")
    if size(path) is not None:
        found = json.loads(read_bytes(path))
        if different := sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key)):
            raise InputError(
                f"{folder} holds shards made with other {' and '.join(different)}; "
                "give another --output, or delete the folder."
            )
        return
    if any(name == INDEX or name.startswith("audio-") for name in names(folder)):
        raise InputError(
            f"{folder} holds shards of unknown settings; give another --output, or delete the folder."
        )
    write_atomic(path, json.dumps(settings, sort_keys=True) + "\n")


@dataclass(frozen=True)
class Unit:
    """One shard to make: where it goes, its tracks and how they are cut."""

    place: Place
    outline: Outline
    tracks: tuple[Track, ...]
    cutting: Cutting
    root: str


def _unit(outline: Outline, found: Survey, cutting: Cutting, folder: Location) -> Unit:
    place = Place(str(folder), outline.name)
    return Unit(place, outline, outline.tracks(found.manifest), cutting, found.root)


def pack(unit: Unit) -> str:
    """Make one shard.

    Returns:
        Its name.

    Raises:
        InputError: if the disk of the music is gone; a file that is gone is only passed over.
        OSError: if the shard cannot be written.
    """
    left_out = []
    clips = 0
    with write_tar(unit.place.audio) as tar:
        for item in unit.tracks:
            try:
                members = cut(item, unit.cutting)
            except (InputError, OSError) as error:
                check_mounted(item.path, unit.root)
                left_out.append(rejected(item, "unreadable", str(error)))
                continue
            for clip, audio in members:
                tar.add(f"{clip.key}.{unit.cutting.format}", audio)
                tar.add(f"{clip.key}.json", clip.to_json())
                clips += 1
    name, split = unit.outline.name, unit.outline.split
    made = Shard(name, split, clips, clips * unit.cutting.seconds, tar.bytes, tar.sha256)
    result = dataclasses.asdict(Result(made, tuple(left_out)))
    write_atomic(unit.place.record, json.dumps(result, ensure_ascii=False, sort_keys=True) + "\n")
    return name


def _finish(
    folder: Location, found: Survey, cutting: Cutting, settings: dict[str, Any], places: list[Place]
) -> None:
    """Write the index and the list of tracks that were left out."""
    reasons: Counter[str] = Counter()
    shards: list[Shard] = []

    def short() -> Iterator[Rejected]:
        for offset in found.short:
            item = read_track(found.manifest, offset)
            detail = f"{item.seconds:.2f} s, less than one clip of {cutting.seconds:g} s"
            yield rejected(item, "too short", detail)

    def dropped() -> Iterator[Rejected]:
        for place in places:
            result = place.result()
            assert result is not None, f"{place.audio} is gone"
            shards.append(result.shard)
            yield from result.rejected

    def counted() -> Iterator[Rejected]:
        for item in itertools.chain(short(), dropped()):
            reasons[item.reason] += 1
            yield item

    if is_url(folder):
        lines = "".join(item.to_json() + "\n" for item in counted())
        write_atomic(join(folder, REJECTED), lines)
    else:
        tracks.write_lines(Path(folder) / REJECTED, counted())
    index = Index(tuple(shards), SAMPLE_RATE, cutting.seconds, settings)
    write_atomic(join(folder, INDEX), index.to_json())
    for split in ("train", "validation", "test"):
        own = index.of(split)
        clips, seconds = sum(item.clips for item in own), sum(item.seconds for item in own)
        print(f"{split}: {len(own)} shards, {clips} clips, {seconds / 3600:.2f} hours")
    print(f"{join(folder, INDEX)} is ready; tracks left out: {tracks.counts(reasons)}.")
