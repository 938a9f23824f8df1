"""Encoded audio whose header states more than it holds costs no memory."""

from __future__ import annotations

import tracemalloc

import pytest
import torch

from lightning_n2m.audio.io import encode
from lightning_n2m.data.clip_audio import probe_clip, read_clip
from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.errors import InputError
from tests.data.conftest import noise


def with_stated_frames(flac: bytes, frames: int) -> bytes:
    """A FLAC whose STREAMINFO states another number of frames: 36 bits, from the middle of byte 21."""
    data = bytearray(flac)
    data[21] = data[21] & 0xF0 | frames >> 32
    data[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


def test_a_clip_within_its_metadata_is_decoded(raw_clip):
    raw = raw_clip(seconds=0.5)
    assert read_clip(raw).samples.shape == (1, 12_000)


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (with_stated_frames(encode(noise(0, 1.0), 24_000), 2**36 - 1), "states"),
        (with_stated_frames(encode(noise(0, 1.0), 24_000), 24_002), "states"),
        (encode(noise(0, 1.0), 16_000), "at 16000 Hz"),
        (encode(torch.zeros(9, 100), 24_000, "WAV", "PCM_16"), "9 channels"),
        (b"", "cannot be read"),
    ],
    ids=["hours", "two samples", "rate", "channels", "empty"],
)
def test_audio_beyond_its_metadata_is_refused_without_decoding(raw_clip, audio, reason):
    raw = raw_clip(audio, seconds=1.0)
    tracemalloc.start()
    for work in (probe_clip, read_clip, lambda clip: ClipDecoder(24_000, 0.5, None)(clip, 0)):
        with pytest.raises(InputError, match=reason):
            work(raw)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
