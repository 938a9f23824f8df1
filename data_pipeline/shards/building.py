"""Building the shards of a manifest: what is missing is cut and packed, then the index is written."""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from data_pipeline.scan import track as tracks
from data_pipeline.scan.file_scan import check_mounted
from data_pipeline.scan.track import REJECTED, Rejected, Track
from data_pipeline.shards.clip_cutter import Cutting, cut
from data_pipeline.shards.generations import claim, outlines
from data_pipeline.shards.shard_plan import RECORDS, Outline, Place, Result, Survey, rejected, survey
from data_pipeline.tar import write_tar
from lightning_n2m.data.schema import INDEX, SAMPLE_RATE, Index, Shard
from lightning_n2m.errors import InputError
from lightning_n2m.storage import (
    Location,
    is_url,
    join,
    make_folder,
    remove_partial_files,
    write_atomic,
)


@dataclass(frozen=True)
class Distribution:
    """How tracks are distributed over shards: tracks of a shard at most, and shares of the splits."""

    tracks_per_shard: int = 16
    validation: float = 0.05
    test: float = 0.05


@dataclass(frozen=True)
class Unit:
    """One shard to build: its paths, its tracks and how they are cut."""

    place: Place
    outline: Outline
    tracks: tuple[Track, ...]
    cutting: Cutting
    root: str


def build_shards(
    manifest: Path,
    folder: Location,
    cutting: Cutting,
    distribution: Distribution,
    workers: int | None,
    engine: Engine,
) -> None:
    """Build the missing shards of a manifest, and write the index.

    Args:
        manifest: The manifest.
        folder: Output folder or URL; if it holds shards of the same settings, it is resumed or extended.
        cutting: How tracks are cut.
        distribution: How tracks are distributed over shards.
        workers: Processes; all cores when none is given.
        engine: Where they run.

    Raises:
        InputError: if the manifest is damaged, or the folder holds other shards.
    """
    found = survey(manifest, cutting.count, distribution.validation, distribution.test)
    if not any(found.clips):
        raise InputError(
            f"No track of {manifest} is as long as a clip of {cutting.seconds:g} s; lower --clip_seconds."
        )
    settings: dict[str, Any] = {
        "clips_per_track": cutting.clips,
        "clip_seconds": cutting.seconds,
        "spacing_seconds": cutting.spacing,
        "format": cutting.format,
        "kbps": cutting.kbps if cutting.format == "opus" else None,
        "tracks_per_shard": distribution.tracks_per_shard,
        "validation": distribution.validation,
        "test": distribution.test,
    }
    make_folder(join(folder, RECORDS))
    generations = claim(folder, found, settings)
    remove_partial_files(folder)
    remove_partial_files(join(folder, RECORDS))

    def planned() -> Iterator[Outline]:
        return outlines(generations, found, distribution.tracks_per_shard)

    # Plans are computed twice instead of kept: their track lists would not fit for millions of tracks.
    clips_of: dict[str, int] = {}
    finished: set[str] = set()
    for outline in planned():
        clips_of[outline.name] = outline.clips
        if Place(str(folder), outline.name).result():
            finished.add(outline.name)
    units = (
        Unit(Place(str(folder), outline.name), outline, outline.tracks(found.manifest), cutting, found.root)
        for outline in planned()
        if outline.name not in finished
    )
    done = sum(clips_of[name] for name in finished)
    with progress("sharding", sum(clips_of.values()), "clips", done) as report:
        for name in run(pack, units, workers, engine):
            report(clips_of[name])
    places = [Place(str(folder), name) for name in clips_of]
    _finish(folder, found, cutting, settings | {"tracks": found.fingerprint}, places)


def pack(unit: Unit) -> str:
    """Build one shard.

    Returns:
        Its name.

    Raises:
        InputError: if the disk of the music is missing; a missing file is only skipped.
        OSError: if the shard cannot be written.
    """
    skipped = []
    clips = 0
    with write_tar(unit.place.audio) as tar:
        for item in unit.tracks:
            try:
                members = cut(item, unit.cutting)
            except (InputError, OSError) as error:
                check_mounted(item.path, unit.root)
                skipped.append(rejected(item, "unreadable", str(error)))
                continue
            for clip, audio in members:
                tar.add(f"{clip.key}.{unit.cutting.format}", audio)
                tar.add(f"{clip.key}.json", clip.to_json())
                clips += 1
    name, split = unit.outline.name, unit.outline.split
    shard = Shard(name, split, clips, clips * unit.cutting.seconds, tar.bytes, tar.sha256)
    write_atomic(unit.place.record, Result(shard, tuple(skipped)).to_json())
    return name


def _finish(
    folder: Location, found: Survey, cutting: Cutting, settings: dict[str, Any], places: list[Place]
) -> None:
    """Write the index and the list of rejected tracks, and print a summary."""
    reasons: Counter[str] = Counter()
    shards: list[Shard] = []

    def too_short() -> Iterator[Rejected]:
        for item in found.too_short():
            detail = f"{item.seconds:.2f} s, less than one clip of {cutting.seconds:g} s"
            yield rejected(item, "too short", detail)

    def unreadable() -> Iterator[Rejected]:
        for place in places:
            result = place.result()
            if result is None:
                raise InputError(f"{place.audio} or its record was removed; run the same command again.")
            shards.append(result.shard)
            yield from result.rejected

    def counted() -> Iterator[Rejected]:
        for item in itertools.chain(too_short(), unreadable()):
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
    empty = [split for split in ("validation", "test") if settings.get(split) and not index.of(split)]
    if empty and index.of("train"):
        print(
            f"No track was drawn for {' and '.join(empty)}: there are few tracks. 'fit' measures its loss on "
            "validation, and 'test' reads test; shard into a new folder with larger shares, such as "
            "--validation 0.2 --test 0.2."
        )
    print(f"{join(folder, INDEX)} is ready; rejected tracks: {tracks.counts(reasons)}.")
    if reasons["too short"]:
        print(
            f"Too short are tracks below --clip_seconds {cutting.seconds:g}; to keep them, shard into a new "
            "folder with shorter clips."
        )
    print(f"Next: python -m data_pipeline verify --shards {shlex.quote(str(folder))}")
