"""Accompaniment figures play the given chords."""

from __future__ import annotations

import random

import pytest

from data_pipeline.starter_corpus.harmony import Key, progression
from data_pipeline.starter_corpus.melody import METRES
from data_pipeline.starter_corpus.patterns import FIGURES, accompany


@pytest.mark.parametrize("name", FIGURES)
def test_figures_play_the_chords(name: str) -> None:
    metre, key = METRES[FIGURES[name][0]], Key(2, "minor")
    bars = progression(key, "i iv V7 i", 8)
    notes = accompany(name, bars, metre, 40, random.Random(0))
    assert {int(note.start // metre.beats) for note in notes} == set(range(8))
    for note in notes:
        assert 40 <= note.pitch < 40 + 48
        assert note.pitch % 12 in bars[int((note.start + 1e-9) // metre.beats)][0].pitch_classes
    with pytest.raises(ValueError, match="is in"):
        accompany(name, bars, METRES["5/4"], 40, random.Random(0))
