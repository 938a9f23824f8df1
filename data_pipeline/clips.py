"""Clips of a track: where they begin, and their audio."""

from __future__ import annotations

import math
from pathlib import Path

from data_pipeline.track import Track, identity
from lightning_n2m.data.schema import SAMPLE_RATE, Clip
from lightning_n2m.errors import InputError

TOLERANCE = 0.05  # Seconds that a track may be shorter than its clips; they are filled up with silence.


def starts(item: Track, clips: int, seconds: float) -> list[float]:
    """Where the clips of a track begin, in seconds: each in the middle of its equal part of the track."""
    number = min(clips, max(1, math.floor((item.seconds + TOLERANCE) / seconds)))
    part = item.seconds / number
    return [max(0.0, part * index + (part - seconds) / 2) for index in range(number)]


def cut(item: Track, clips: int, seconds: float) -> list[tuple[Clip, bytes]]:
    """Decode, resample and encode the clips of a track.

    Raises:
        InputError: if the file is no longer readable, or not the one that the manifest describes.
    """
    import torch

    from lightning_n2m.audio import io
    from lightning_n2m.audio.resample import resample_file

    if identity(Path(item.path)) != item.track_id:
        raise InputError(
            f"{item.path} is not the file that the manifest describes; build the manifest again."
        )
    rate, length = item.sample_rate, round(seconds * SAMPLE_RATE)
    # Cuts fall where both rates have a sample, and the neighbourhood is resampled with the clip:
    # otherwise a clip would begin with the edge of a filter, and up to a sample late.
    step = rate // math.gcd(rate, SAMPLE_RATE)
    margin = step * math.ceil(0.1 * rate / step)
    found = []
    for number, start in enumerate(starts(item, clips, seconds)):
        first = math.floor(start * rate / step) * step
        begin = max(0, first - margin)
        end = min(item.frames, first + math.ceil(seconds * rate) + margin)
        audio = io.to_mono(io.read(item.path, begin, end - begin).samples)
        master = resample_file(audio, rate, SAMPLE_RATE)
        offset = (first - begin) // step * (step * SAMPLE_RATE // rate)
        master = master[:, offset : offset + length]
        master = torch.nn.functional.pad(master, (0, length - master.shape[-1]))
        clip = Clip(
            track_id=item.track_id,
            clip=number,
            start_s=round(first / rate, 6),
            duration_s=seconds,
            sample_rate=SAMPLE_RATE,
            title=item.title,
            artist=item.artist,
            album=item.album,
            year=item.year,
            genres=item.genres,
            tags=item.tags,
            descriptions=item.descriptions,
            licence=item.licence,
            source=item.source,
            truth=item.truth,
        )
        found.append((clip, io.encode(master, SAMPLE_RATE)))
    return found
