"""Signatures of lossy copies are alike, and those of different pieces are not."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipeline.scan.near_duplicates import DIFFERENT
from data_pipeline.scan.signature import Signature
from lightning_n2m.audio.io import read, to_mono
from lightning_n2m.audio.resample import resample_file
from tests.data_pipeline.conftest import CLIPS, NAMES


def listen(path: Path) -> np.ndarray:
    audio = read(path)
    signature = Signature(audio.sample_rate)
    for start in range(0, audio.samples.shape[-1], 100_000):
        signature.add(to_mono(audio.samples[:, start : start + 100_000]))
    return np.unpackbits(signature.bits())


@pytest.fixture(scope="module")
def signatures() -> dict[str, np.ndarray]:
    return {name: listen(CLIPS / f"{name}.ogg") for name in NAMES}


def test_different_pieces_differ_in_nearly_half_of_their_bits(signatures: dict[str, np.ndarray]) -> None:
    apart = [np.mean(a != b) for a, b in itertools.combinations(signatures.values(), 2)]
    assert min(apart) > 2 * DIFFERENT
    assert np.mean(apart) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("ending", "rate", "gain", "options"),
    [
        ("mp3", 24_000, 1.0, {"compression_level": 0.5}),
        ("mp3", 24_000, 0.5, {"compression_level": 0.99}),
        ("mp3", 16_000, 0.25, {"compression_level": 0.5}),
        ("ogg", 8_000, 1.0, {}),
        ("opus", 48_000, 1.0, {"format": "OGG", "subtype": "OPUS", "compression_level": 0.95}),
        ("wav", 44_100, 0.1, {"subtype": "PCM_U8"}),
    ],
)
def test_a_lossy_copy_keeps_its_signature(
    ending: str, rate: int, gain: float, options: dict, signatures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for name in NAMES[::3]:
        audio = read(CLIPS / f"{name}.ogg")
        samples = resample_file(audio.samples, audio.sample_rate, rate).T.numpy() * gain
        path = tmp_path / f"copy.{ending}"
        soundfile.write(path, samples, rate, **options)
        assert np.mean(listen(path) != signatures[name]) < DIFFERENT


def test_the_size_of_the_blocks_changes_nothing(signatures: dict[str, np.ndarray]) -> None:
    audio = read(CLIPS / "waltz.ogg")
    signature = Signature(audio.sample_rate)
    for start in range(0, audio.samples.shape[-1], 777):
        signature.add(to_mono(audio.samples[:, start : start + 777]))
    assert np.array_equal(np.unpackbits(signature.bits()), signatures["waltz"])
