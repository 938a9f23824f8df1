"""The real accompanist plays every style and chord."""

from __future__ import annotations

import pytest

from data_pipeline.starter_corpus.harmony import Key, progression
from data_pipeline.starter_corpus.melody import METRES
from data_pipeline.starter_corpus.mma import Accompanist
from data_pipeline.starter_corpus.styles import BANDS


@pytest.mark.parametrize("style", BANDS, ids=lambda style: f"{style.genre} {style.metre}")
def test_every_style_can_be_played_in_every_metre(accompanist: Accompanist, style) -> None:  # type: ignore[no-untyped-def]
    metre, key = METRES[style.metre], Key(3, "minor")
    for groove in style.grooves[:1]:
        bars = progression(key, style.minor[0], 8)
        events = accompanist.play(groove, bars, metre, 120, 1, style.extra)
        starts = [event.time for event in events if event.kind == "on"]
        assert min(starts) < 0.1
        assert 7 * metre.beats / 2 <= max(starts) <= 8 * metre.beats / 2
        assert events == accompanist.play(groove, bars, metre, 120, 1, style.extra)


def test_every_numeral_is_a_chord_that_the_accompanist_knows(accompanist: Accompanist) -> None:
    used = {
        (mode, numeral)
        for style in BANDS
        for mode, rows in (("major", style.major), ("minor", style.minor))
        for row in rows
        for bar in row.split()
        for numeral in bar.split(",")
    }
    for mode in ("major", "minor"):
        bars = [(Key(6, mode).chord(numeral),) for found, numeral in sorted(used) if found == mode]  # type: ignore[arg-type]
        accompanist.play("stdlib/waltz:Waltz", bars, METRES["3/4"], 120, 1)


def test_a_groove_that_is_not_there_is_named(accompanist: Accompanist) -> None:
    with pytest.raises(RuntimeError, match="stdlib/waltz:Nonsense"):
        accompanist.play("stdlib/waltz:Nonsense", progression(Key(0, "major"), "I", 2), METRES["3/4"], 120, 1)
