"""Frames of an MP3, counted: headers of variable bit rate files often do not say how many there are.

libsndfile reads as many frames as the header says, or as the bit rate of the first frames suggests. Both are
wrong for streams that were recorded from a radio, files that were cut or joined, and files with long tags at
their end. A copy with nothing but the audio frames, behind a header with their number, is read to its end.
"""

from __future__ import annotations

import mmap
import re
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lightning_n2m.errors import InputError

_HEADER = re.compile(rb"\xff[\xe2-\xe7\xf2-\xff][\x10-\xeb]", re.DOTALL)
_MAX_GAPS = 100_000  # Places where the search for the next frame may begin: it ends in a file of noise.
# Bit rates in kbit/s by (version is 1, layer), and sample rates of version 1 in Hz.
_KBPS = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)
_DIVISOR = {3: 1, 2: 2, 0: 4}  # Of the sample rate, by version: 1, 2, 2.5.


class FrameHeader(NamedTuple):
    """The header of a frame: its form, and its length in bytes and samples."""

    version: int
    layer: int
    sample_rate: int
    mono: bool
    length: int
    samples: int

    def same_stream(self, other: FrameHeader) -> bool:
        """Whether two frames are of one stream; the number of channels may change within it."""
        return self[:3] == other[:3]


@dataclass
class FrameCount:
    """The audio frames of an MP3.

    Args:
        first: Header of the first one.
        frames: Their number.
        spans: Byte ranges that hold them, without tags, damaged parts and headers that count frames.
        has_info: Whether there is such a header.
    """

    first: FrameHeader
    frames: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    has_info: bool = False

    @property
    def samples(self) -> int:
        """Length in samples of each channel."""
        return self.frames * self.first.samples


def read_header(data: bytes | mmap.mmap, position: int) -> FrameHeader | None:
    """The frame header at a byte of a file; none where there is none, or its length is free."""
    if position + 4 > len(data):
        return None
    first, second, third, fourth = data[position : position + 4]
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    if (
        first != 0xFF
        or second < 0xE0
        or version == 1
        or layer == 4
        or third >> 2 & 3 == 3
        or third >> 4 in (0, 15)
    ):
        return None
    bits = 1000 * _KBPS[version == 3, layer][third >> 4]
    rate = _RATES[third >> 2 & 3] // _DIVISOR[version]
    padding = third >> 1 & 1
    if layer == 1:
        length, samples = (12 * bits // rate + padding) * 4, 384
    else:
        samples = 576 if layer == 3 and version != 3 else 1152
        length = samples // 8 * bits // rate + padding
    return FrameHeader(version, layer, rate, fourth >> 6 == 3, length, samples)


def count_frames(audio: Path | bytes) -> FrameCount | None:
    """Count the audio frames of an MP3.

    Args:
        audio: The file, or its bytes.

    Returns:
        The count; none where the file is not an MP3, or its frames have no fixed lengths.
    """
    if isinstance(audio, bytes):
        return _count(audio)
    with open(audio, "rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _count(data)
        except ValueError:  # An empty file cannot be mapped.
            return None


def _count(data: bytes | mmap.mmap) -> FrameCount | None:
    position = _after_tag(data, 0)
    if data[position : position + 4] in (b"fLaC", b"RIFF", b"OggS"):
        return None
    count: FrameCount | None = None
    gaps = 0
    while position < len(data):
        header = read_header(data, position)
        if header is None or (count and not header.same_stream(count.first)):
            following: int | None = _after_tag(data, position)
            if following == position:
                gaps += 1
                following = _next_frame(data, position + 1, count.first if count else None)
            if following is None or gaps > _MAX_GAPS:
                break
            position = following
            continue
        end = position + header.length
        if end > len(data):
            break  # The last frame of a file that was cut.
        if count is None:
            count = FrameCount(header)
        if _is_info(data, position, header):
            count.has_info = True
        else:
            count.frames += 1
            if count.spans and count.spans[-1][1] == position:
                count.spans[-1] = (count.spans[-1][0], end)
            else:
                count.spans.append((position, end))
        position = end
    return count if count and count.frames else None


def _after_tag(data: bytes | mmap.mmap, position: int) -> int:
    """The byte after an ID3, APE or Lyrics3 tag; the same byte where there is none."""
    head = data[position : position + 32]
    if head[:3] == b"ID3" and len(head) >= 10:
        size = int.from_bytes(bytes(head[6:10]))
        return position + 10 + sum((size >> 8 * part & 127) << 7 * part for part in range(4))
    if head[:3] == b"TAG":
        return position + 128
    if head[:8] == b"APETAGEX":
        size, flags = struct.unpack("<I4xI", head[12:24])
        is_header = flags >> 29 & 1
        return position + (32 + size if is_header else 32)
    return position


def _next_frame(data: bytes | mmap.mmap, position: int, like: FrameHeader | None) -> int | None:
    """Where the next two frames in succession, or the last one, begin."""
    for tries, match in enumerate(_HEADER.finditer(data, position)):
        if tries > _MAX_GAPS:
            return None
        start = match.start()
        header = read_header(data, start)
        if header is None or (like and not header.same_stream(like)):
            continue
        following = start + header.length
        second = read_header(data, following)
        if following == len(data) or (second and second.same_stream(header)):
            return start
    return None


def _is_info(data: bytes | mmap.mmap, position: int, header: FrameHeader) -> bool:
    """Whether a frame is the silent one that gives length and positions: Xing's, LAME's or Fraunhofer's."""
    if header.layer != 3:
        return False
    start = position + 4 + _side_info(header)
    return data[start : start + 4] in (b"Xing", b"Info") or data[position + 36 : position + 40] == b"VBRI"


def _side_info(header: FrameHeader) -> int:
    if header.version == 3:
        return 17 if header.mono else 32
    return 9 if header.mono else 17


@contextmanager
def counted_copy(audio: Path | bytes, name: str) -> Iterator[Path]:
    """A copy of an MP3 that holds its audio frames only, behind a header that gives their number.

    Args:
        audio: The file, or its bytes.
        name: File name for messages.

    Raises:
        InputError: if it holds no frames of layer III.
    """
    count = count_frames(audio)
    if count is None or count.first.layer != 3:
        raise InputError(f"{name} holds no MP3 frames.")
    with tempfile.TemporaryDirectory(prefix="n2m-mp3-") as folder:
        copy = Path(folder, "audio.mp3")
        with open(copy, "wb") as target:
            target.write(_info_frame(audio, count))
            if isinstance(audio, bytes):
                for start, end in count.spans:
                    target.write(audio[start:end])
            else:
                with open(audio, "rb") as source:
                    for start, end in count.spans:
                        source.seek(start)
                        while start < end and (block := source.read(min(end - start, 1 << 20))):
                            target.write(block)
                            start += len(block)
        yield copy


def _info_frame(audio: Path | bytes, count: FrameCount) -> bytes:
    """A Xing header in the form of the stream's own frames."""
    start = count.spans[0][0]
    if isinstance(audio, bytes):
        own = audio[start : start + 4]
    else:
        with open(audio, "rb") as file:
            file.seek(start)
            own = file.read(4)
    # The smallest bit rate whose frame is long enough; protection bit set, as there is no checksum.
    needed = 4 + _side_info(count.first) + 16
    heads = (bytes((0xFF, own[1] | 1, rate << 4 | own[2] & 0x0C, own[3])) for rate in range(1, 15))
    head, length = next(
        (head, header.length)
        for head in heads
        if (header := read_header(head, 0)) is not None and header.length >= needed
    )
    size = length + sum(end - start for start, end in count.spans)
    content = b"Xing" + struct.pack(">III", 3, count.frames, min(size, 0xFFFF_FFFF))
    return (head + bytes(_side_info(count.first)) + content).ljust(length, b"\0")
