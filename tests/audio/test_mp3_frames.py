"""The length of an MP3 is that of its frames, whatever its header says."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from lightning_n2m.audio import io as audio_io
from lightning_n2m.audio.decoders import choose_decoder, decoded
from lightning_n2m.audio.mp3_frames import count_frames, read_header
from tests.audio.mp3_files import RATE, mp3, without_info

SAMPLES = 576  # Of a frame at this rate.
DELAY = 529  # Samples by which every MP3 decoder is late, and which libsndfile drops behind a header.


def frames_of(data: bytes) -> int:
    """Frames of a whole stream, from one header to the next: independent of tags and searching."""
    position, number = 0, 0
    while header := read_header(data, position):
        position, number = position + header.length, number + 1
    assert position == len(data)
    return number


def decoded_samples(data: bytes) -> np.ndarray:
    decoder = choose_decoder(data, ".mp3")
    with decoded(data, "x.mp3", decoder) as readable:
        info = audio_io.probe(readable)
        samples = np.concatenate([block[0].numpy() for block in audio_io.read_blocks(readable, 10_000)])
    assert len(samples) == info.frames
    return samples


@pytest.mark.parametrize("order", [("soft", "loud"), ("loud", "soft")])
def test_a_variable_rate_without_a_header_is_read_to_its_end(order: tuple[str, str]) -> None:
    parts = [without_info(mp3(kind, 6, seed)) for seed, kind in enumerate(order)]
    data = b"".join(parts)
    wanted = sum(map(frames_of, parts)) * SAMPLES
    assert abs(audio_io.probe(data).frames - wanted) > RATE, (
        "libsndfile estimates it right: no test of counting"
    )
    samples = decoded_samples(data)
    assert len(samples) == wanted - DELAY
    halves = [np.std(samples[: 5 * RATE]), np.std(samples[-5 * RATE :])]
    assert (halves[0] < halves[1]) == (order[0] == "soft")


def test_two_files_in_one_are_both_read() -> None:
    first, second = mp3("loud", 4, 1), mp3("soft", 7, 2)
    tag = b"ID3\3\0\0" + bytes((0, 0, 1, 0)) + bytes(128)
    samples = decoded_samples(first + tag + second)
    wanted = (frames_of(first) + frames_of(second) - 2) * SAMPLES  # Each has a silent frame for its header.
    assert len(samples) == wanted - DELAY
    assert np.std(samples[-3 * RATE :]) < 0.1 * np.std(samples[: 3 * RATE])


@pytest.mark.parametrize("tag", ["ape", "id3v1", "noise", "zeros"])
def test_what_follows_the_audio_is_not_counted(tag: str) -> None:
    data = without_info(mp3("loud", 4))
    size = 300_000
    footer = b"APETAGEX" + struct.pack("<4I", 2000, size + 32, 1, 1 << 31) + bytes(8)
    header = b"APETAGEX" + struct.pack("<4I", 2000, size + 32, 1, (1 << 31) | (1 << 29)) + bytes(8)
    tail = {
        "ape": header + b"\xff\xf3\x64\xc4" * (size // 4) + footer,
        "id3v1": b"TAG" + bytes(125),
        "noise": np.random.default_rng(0).bytes(size),
        "zeros": bytes(size),
    }[tag]
    assert len(decoded_samples(data + tail)) == frames_of(data) * SAMPLES - DELAY


def test_other_files_have_no_frames(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert count_frames(tmp_path / "empty") is None
    assert count_frames(b"no music" * 1000) is None
    assert count_frames(b"\xff" * 1_000_000) is None
