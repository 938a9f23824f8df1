"""Drum loops keep the tempo of the piece."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.starter_corpus import debian
from data_pipeline.starter_corpus.loops import at_tempo, fits, read
from data_pipeline.starter_corpus.sounds import loops


@pytest.mark.parametrize("name", sorted(loops()))
def test_the_listed_tempo_of_a_loop_is_that_of_its_file(name: str) -> None:
    loop = loops()[name]
    samples, rate = read(loop, debian.cache_folder())
    assert loop.beats * 60 * rate / len(samples) == pytest.approx(loop.tempo, abs=0.02)
    assert fits(loop, loop.tempo) and not fits(loop, loop.tempo * 1.3)


@pytest.mark.parametrize("tempo", [97.0, 120.0, 133.7])
def test_beats_of_a_loop_fall_on_the_beats_of_the_piece(tempo: float) -> None:
    rate, beats = 8000, 4
    once = np.zeros(rate, dtype=np.float32)
    once[:: rate // beats] = 1.0  # a click per beat, at 240 beats per minute
    played = at_tempo(once, beats, tempo, 20.0, rate)
    assert len(played) == 20 * rate
    for beat in range(int(20 * tempo / 60) - 1):
        expected = beat * 60 / tempo * rate
        window = played[max(0, round(expected) - 40) : round(expected) + 41]
        found = max(0, round(expected) - 40) + int(np.abs(window).argmax())
        assert abs(found - expected) < 2, beat
