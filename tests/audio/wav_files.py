"""WAV files whose headers give other sizes than their own."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

RATE = 24_000
SAMPLES = (0.1 * np.random.default_rng(0).normal(size=RATE * 3)).astype(np.float32)


def wav(length: int | None, riff: int | None = None, tail: bytes = b"") -> bytes:
    """A WAV file whose header gives these sizes, and not its own."""
    stream = io.BytesIO()
    soundfile.write(stream, SAMPLES, RATE, format="WAV", subtype="PCM_16")
    data = bytearray(stream.getvalue() + tail)
    place = data.index(b"data") + 4
    if length is not None:
        data[place : place + 4] = struct.pack("<I", length)
    if riff is not None:
        data[4:8] = struct.pack("<I", riff)
    return bytes(data)
