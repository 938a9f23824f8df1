"""Notes become events at the right times."""

from __future__ import annotations

import pytest

from data_pipeline.starter_corpus.events import perform, programs
from data_pipeline.starter_corpus.melody import Note


def test_swing_delays_only_what_is_between_beats() -> None:
    notes = [Note(0.0, 0.5, 60, 90), Note(0.5, 0.5, 62, 90), Note(1.0, 1.0, 64, 90)]
    starts = [event.time for event in perform(notes, 0, 0, 60, swing=2 / 3) if event.kind == "on"]
    assert starts == pytest.approx([0.0, 2 / 3, 1.0], abs=1e-5)
    assert programs(perform(notes, 0, 73, 60), until=10) == [73]
    assert programs(perform(notes, 0, 73, 60), until=0) == []
