"""WAV headers of recorders that crashed: the length of the audio was never written, or an old one stayed."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lightning_n2m.errors import InputError

_MAX_CHUNKS = 1000
_MAX_SIZE = 0xFFFF_FFF0  # Bytes that the header of a WAV file can express.


def true_length(file: BinaryIO) -> tuple[int, int] | None:
    """Where the length field of the audio is, and the length that it should hold.

    Args:
        file: The WAV file.

    Returns:
        Nothing where the header is right, or is not one of a WAV file.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    position, has_format = 12, False
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8:
            return None
        name, length = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        if name == b"data":
            rest = size - position - 8
            stale = length < rest and not _is_chunk(file, position + 8 + length + length % 2, size)
            wrong = has_format and rest > 0 and (stale or length > rest)
            return (position + 4, rest) if wrong and rest <= _MAX_SIZE else None
        has_format = has_format or name == b"fmt "
        position += 8 + length + length % 2
    return None


def _is_chunk(file: BinaryIO, position: int, size: int) -> bool:
    """Whether a chunk begins here, or the file ends."""
    file.seek(position)
    chunk = file.read(8)
    if len(chunk) < 8:
        return True
    length = struct.unpack("<I", chunk[4:])[0]
    return all(32 <= byte < 127 for byte in chunk[:4]) and position + 8 + length <= size + 1


class _Patched(io.RawIOBase):
    """A file of which some bytes are replaced."""

    def __init__(self, file: BinaryIO, patches: dict[int, bytes]) -> None:
        self.file, self.patches = file, patches
        file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:  # prose: allow
        return self.file.tell()  # prose: allow

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        start = self.file.tell()  # prose: allow
        data = bytearray(self.file.read(len(buffer)))
        for position, patch in self.patches.items():
            for offset, byte in enumerate(patch, position - start):
                if 0 <= offset < len(data):
                    data[offset] = byte
        memoryview(buffer).cast("B")[: len(data)] = data
        return len(data)


@contextmanager
def with_true_length(audio: Path | bytes, name: str) -> Iterator[BinaryIO]:
    """A WAV file as if its header gave the length of its audio.

    Args:
        audio: The file, or its bytes.
        name: File name for messages.

    Raises:
        InputError: if nothing is wrong with the header.
    """
    with io.BytesIO(audio) if isinstance(audio, bytes) else open(audio, "rb") as file:
        found = true_length(file)
        if found is None:
            raise InputError(f"{name} is not a WAV file with a wrong length; build the manifest again.")
        position, length = found
        patches = {4: struct.pack("<I", position + length - 4), position: struct.pack("<I", length)}
        yield _Patched(file, patches)  # type: ignore[misc]
