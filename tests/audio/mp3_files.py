"""MP3 files of a variable rate, with and without a header that gives their length."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from lightning_n2m.audio.mp3_frames import read_header

RATE = 24_000


def mp3(kind: str, seconds: float, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).normal(size=int(RATE * seconds))
    samples = {"soft": 0.01 * np.sin(np.arange(len(noise)) / 20), "loud": 0.2 * noise}[kind]
    stream = io.BytesIO()
    with soundfile.SoundFile(
        stream,
        "w",
        RATE,
        1,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE",
        compression_level=0.5,
    ) as file:
        file.write(samples)
    return stream.getvalue()


def without_info(data: bytes) -> bytes:
    """The frames behind the one that holds the Xing header."""
    header = read_header(data, 0)
    assert header is not None
    assert b"Xing" in data[: header.length] or b"Info" in data[: header.length]
    return data[header.length :]
