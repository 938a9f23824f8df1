"""`python -m data_pipeline shard`: cut the tracks of a manifest into clips, packed into tar files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from data_pipeline.parallel import Engine
from data_pipeline.shards.building import Distribution, build_shards
from data_pipeline.shards.clip_cutter import Cutting
from data_pipeline.shards.derive import derive as derive_form
from data_pipeline.shards.derive import form_of
from lightning_n2m.errors import InputError
from lightning_n2m.storage import locate


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
    as 24 kHz mono FLAC. Splits go by track. A shard is the unit of work: its write is atomic, so that
    a killed job, run again, builds only what is missing. The bytes depend neither on the number of workers
    nor on the engine. A manifest with further tracks extends the folder: they go into new shards, and the
    existing shards stay as they are.

    With --derive the clips are also stored in the form that a stage trains on, beside the shards: its
    loader then does not decode 24 kHz audio and discard most of it.

    Args:
        output: Folder of the shards, or its URL (s3://, gs://).
        manifest: From 'python -m data_pipeline manifest'; not needed to derive from finished shards.
        workers: Processes; all cores when none is given.
        engine: Where they run: on this machine, or on a Ray cluster.
        derive: Also store clips at this rate in Hz (3200), as log-mels (mel), or their features for the
            auxiliary losses of a training (musicnn, chroma).
        clips_per_track: Clips of a track, at most.
        clip_seconds: Length of a clip in seconds.
        spacing_seconds: Seconds between the clips of a track; spread evenly over it when none is given.
        format: Lossless FLAC, or Opus at a fraction of the size.
        kbps: Bit rate of Opus in thousands of bits a second.
        tracks_per_shard: Tracks of a shard, at most.
        validation: Share of tracks that validate.
        test: Share of tracks that test.

    Raises:
        InputError: if the manifest is damaged, a number is out of range, or the folder holds other shards.
    """
    _check_positive(
        clips_per_track=clips_per_track, clip_seconds=clip_seconds, tracks_per_shard=tracks_per_shard
    )
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise InputError(f"--validation {validation:g} and --test {test:g} must leave tracks to train on.")
    if spacing_seconds is not None and not spacing_seconds >= 0:
        raise InputError(f"--spacing_seconds {spacing_seconds:g}: give 0 or more.")
    if derive is not None:
        form_of(derive)  # A wrong form is refused before the work, not after it.
    if not 6 <= kbps <= 256:
        raise InputError(f"--kbps {kbps}: Opus takes 6 to 256.")
    if output.startswith("memory://") and (engine != "local" or workers != 1):
        raise InputError(f"{output} exists in one process only; give --workers 1.")
    folder = locate(output)
    if manifest is not None:
        cutting = Cutting(clips_per_track, clip_seconds, spacing_seconds, format=format, kbps=kbps)
        distribution = Distribution(tracks_per_shard, validation, test)
        build_shards(manifest, folder, cutting, distribution, workers=workers, engine=engine)
    elif derive is None:
        raise InputError("--manifest is missing; build one with 'python -m data_pipeline manifest'.")
    if derive is not None:
        derive_form(folder, derive, workers, engine)


def _check_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0:
            raise InputError(f"--{name} {value:g}: give a number above 0.")
