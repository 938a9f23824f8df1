"""Opus files whose bytes depend on the audio only.

libsndfile gives each Ogg stream a random serial number: equal audio would give different files, and a shard
that is written again another checksum.
"""

from __future__ import annotations

import struct
import zlib

from torch import Tensor

from lightning_n2m.audio.io import encode

_LOWEST, _HIGHEST = 6, 256  # kbit/s per channel at libsndfile's compression levels 1 and 0.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def encode_opus(samples: Tensor, sample_rate: int, kbps: int, serial: int = 0) -> bytes:
    """Encode ``(channels, time)`` as Opus in Ogg.

    Args:
        samples: Audio; values beyond [-1, 1] are clipped.
        sample_rate: 8, 12, 16, 24 or 48 kHz.
        kbps: Bit rate per channel in kbit/s, 6 to 256.
        serial: Number of the stream.
    """
    level = (_HIGHEST - kbps) / (_HIGHEST - _LOWEST)
    return renumber(encode(samples, sample_rate, "OGG", "OPUS", level), serial)


def renumber(data: bytes, serial: int) -> bytes:
    """Replace the serial number of the stream in an Ogg file, and update the checksums of its pages."""
    result, position = bytearray(data), 0
    while position < len(result):
        # RFC 3533, section 6: serial number at byte 14 of a page, checksum at 22, lengths from 26 on.
        segments = result[position + 26]
        size = 27 + segments + sum(result[position + 27 : position + 27 + segments])
        page = memoryview(result)[position : position + size]
        struct.pack_into("<I", page, 14, serial)
        struct.pack_into("<I", page, 22, 0)
        struct.pack_into("<I", page, 22, _checksum(bytes(page)))
        page.release()
        position += size
    return bytes(result)


def _checksum(page: bytes) -> int:
    """CRC-32 of Ogg: that of zlib with reversed bits, with 0 as initial and final value."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
