"""Clips of a track: their positions and their audio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from data_pipeline.scan.file_scan import local_audio
from data_pipeline.scan.track import Track, identity
from lightning_n2m.audio.decoders import decoded
from lightning_n2m.data.schema import SAMPLE_RATE, Clip
from lightning_n2m.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 0.05  # Seconds that a track may be shorter than its clips; they are filled up with silence.


@dataclass(frozen=True)
class Cutting:
    """How tracks are cut into clips.

    Args:
        clips: Clips of a track, at most.
        seconds: Length of a clip.
        spacing: Seconds between two clips, which then lie in the middle of the track; when none is given,
            clips are spread evenly over the track.
        format: How their audio is stored.
        kbps: Bit rate of Opus, in thousands of bits a second.
    """

    clips: int = 6
    seconds: float = 30.0
    spacing: float | None = None
    format: Literal["flac", "opus"] = "flac"
    kbps: int = 96

    def count(self, item: Track) -> int:
        """Number of clips of a track; 0 if it is too short."""
        if item.seconds < self.seconds - TOLERANCE:
            return 0
        gap = self.spacing or 0.0
        room = math.floor((item.seconds + TOLERANCE + gap) / (self.seconds + gap))
        return min(self.clips, max(1, room))

    def starts(self, item: Track) -> list[float]:
        """Start of each clip of a track in seconds; clips never overlap."""
        number = self.count(item)
        if self.spacing is None:
            # Each in the middle of its equal part of the track.
            part = item.seconds / number
            return [max(0.0, part * index + (part - self.seconds) / 2) for index in range(number)]
        step = self.seconds + self.spacing
        first = max(0.0, (item.seconds - number * step + self.spacing) / 2)
        return [first + step * index for index in range(number)]


def cut(item: Track, cutting: Cutting) -> list[tuple[Clip, bytes]]:
    """Decode, resample and encode the clips of a track.

    Raises:
        InputError: if the file is no longer readable, or differs from the one that the manifest describes.
    """
    with local_audio(item.path) as source:
        if identity(source) != item.track_id:
            raise InputError(
                f"{item.path} differs from the file that the manifest describes; build the manifest again."
            )
        with decoded(source, item.path, item.decoder) as readable:
            return _cut(item, readable, cutting)


def _cut(item: Track, source: Path | bytes | BinaryIO, cutting: Cutting) -> list[tuple[Clip, bytes]]:
    import torch

    from lightning_n2m.audio import io
    from lightning_n2m.audio.resample import resample_file

    rate, length = item.sample_rate, round(cutting.seconds * SAMPLE_RATE)
    # Cuts fall where both rates have a sample, and the clip is resampled together with a margin on either
    # side. Otherwise a clip would begin with the edge of a filter, and up to a sample late.
    step = rate // math.gcd(rate, SAMPLE_RATE)
    margin = step * math.ceil(0.1 * rate / step)
    clips = []
    for number, start in enumerate(cutting.starts(item)):
        first = math.floor(start * rate / step) * step
        begin = max(0, first - margin)
        end = min(item.frames, first + math.ceil(cutting.seconds * rate) + margin)
        audio = io.to_mono(io.read(source, begin, end - begin).samples)
        master = resample_file(audio, rate, SAMPLE_RATE)
        offset = (first - begin) // step * (step * SAMPLE_RATE // rate)
        master = master[:, offset : offset + length]
        master = torch.nn.functional.pad(master, (0, length - master.shape[-1]))
        clip = Clip(
            track_id=item.track_id,
            clip=number,
            start_s=round(first / rate, 6),
            duration_s=cutting.seconds,
            sample_rate=SAMPLE_RATE,
            **item.metadata(),
        )
        clips.append((clip, _encode(master, cutting, clip.key)))
    return clips


def _encode(master: Tensor, cutting: Cutting, key: str) -> bytes:
    from lightning_n2m.audio import io

    if cutting.format == "flac":
        return io.encode(master, SAMPLE_RATE)
    from lightning_n2m.audio.opus import encode_opus

    return encode_opus(master, SAMPLE_RATE, cutting.kbps, serial=int(key[:8], 16))
