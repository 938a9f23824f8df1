"""Recordings whose header was never finished are read in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightning_n2m.audio import io as audio_io
from lightning_n2m.audio.decoders import choose_decoder, decoded
from tests.audio.wav_files import SAMPLES, wav


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
