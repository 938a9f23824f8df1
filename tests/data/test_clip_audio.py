"""Encoded audio and arrays whose headers state more than they hold cost no memory."""

from __future__ import annotations

import tracemalloc

import pytest
import torch

from lightning_n2m.audio.io import encode
from lightning_n2m.data.clip_audio import probe_clip, read_clip
from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.derived_audio import derived_shape, from_bytes, to_bytes
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


def array(shape, dtype="<i2", fortran=False, data=b"\0" * 64, version=(1, 0)) -> bytes:
    text = repr({"descr": dtype, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    width = 2 if version == (1, 0) else 4
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(width, "little") + text + data


@pytest.mark.parametrize(
    "data",
    [
        array((10**12, 1)), array((32, 2)), array((33, 1)), array((0, 1)), array((-32, -1)), array((32,)),
        array((16, 1, 2)), array((32, 1), fortran=True), array((16, 1), "<f4"), array((64, 1), "|u1"),
        array((8, 1), "|O"), array((32, 1), version=(2, 0)), array((32, 1), data=b""), b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535, b"\x93NUMPY\x01\x00\x10\x00" + b"{'descr': 'O'   ",
    ],
)  # fmt: skip
def test_an_array_whose_header_does_not_fit_is_refused(data):
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^(?!.*pickle)"):
        from_bytes(data, 0, 16, channels=1)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_derived_clip_is_read_in_steps_and_channels():
    values = torch.linspace(-1.5, 1.5, 60).reshape(3, 20)
    data = to_bytes(values)
    assert derived_shape(data) == (20, 3)
    assert torch.allclose(from_bytes(data, 4, 7, channels=3), values[:, 4:11], atol=1e-4)
    with pytest.raises(ValueError, match="3 channels, but 1"):
        from_bytes(data, 0, 1, channels=1)
