"""Instruments are those of General MIDI."""

from __future__ import annotations

from data_pipeline.starter_corpus.instruments import INSTRUMENTS
from data_pipeline.starter_corpus.styles import ACCOMPANISTS
from lightning_n2m.data.instruments import NAMES, family_of


def test_instruments_are_general_midi() -> None:
    assert len(NAMES) == 128
    assert (NAMES[40], NAMES[73], NAMES[114], family_of(56)) == ("violin", "flute", "steel drums", "brass")
    assert set(ACCOMPANISTS) <= set(INSTRUMENTS)
