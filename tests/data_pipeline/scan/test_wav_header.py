"""Recordings whose header was never finished are read in full."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipeline.scan.decoders import SNDFILE, WAV_HEADER, choose_decoder, decoded
from lightning_n2m.audio import io as audio_io

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


@pytest.mark.parametrize("length", [0, 48_000, 0xFFFF_FFFF, 0x7FFF_FFFF])
@pytest.mark.parametrize("riff", [0, 36, 0xFFFF_FFFF])
def test_a_wrong_length_does_not_shorten_the_recording(length: int, riff: int, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(length, riff))
    for audio in (tmp_path / "a.wav", wav(length, riff)):
        with decoded(audio, "a.wav", choose_decoder(audio, ".wav")) as readable:
            assert audio_io.probe(readable).frames == len(SAMPLES)
            whole = audio_io.read(readable).samples[0].numpy()
            part = audio_io.read(readable, 1000, 500).samples[0].numpy()
    np.testing.assert_allclose(whole, SAMPLES, atol=1e-4)
    np.testing.assert_array_equal(part, whole[1000:1500])


def test_a_right_header_is_left_alone() -> None:
    chunk = b"LIST" + struct.pack("<I", 4) + b"INFO"
    for data in (wav(None), wav(None, tail=chunk), wav(None, tail=b"\0")):
        assert choose_decoder(data, ".wav") == SNDFILE
    assert choose_decoder(wav(0), ".wav") == WAV_HEADER
