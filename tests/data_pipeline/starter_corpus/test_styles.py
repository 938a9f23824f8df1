"""Styles name only existing instruments, figures and chords."""

from __future__ import annotations

import pytest

from data_pipeline.starter_corpus.harmony import progression
from data_pipeline.starter_corpus.instruments import INSTRUMENTS
from data_pipeline.starter_corpus.patterns import FIGURES
from tests.data_pipeline.starter_corpus.common import KEYS, STYLES


@pytest.mark.parametrize("style", STYLES, ids=lambda style: f"{style.genre} {style.metre}")
def test_styles_name_only_what_there_is(style) -> None:  # type: ignore[no-untyped-def]
    assert bool(style.grooves) != bool(style.figures)
    assert set(style.leads) <= set(INSTRUMENTS)
    assert {FIGURES[figure][0] for figure in style.figures} <= {style.metre}
    assert 60 <= style.tempo[0] <= style.tempo[1] <= 180
    for key in KEYS:
        for numerals in style.major if key.mode == "major" else style.minor:
            bars = progression(key, numerals, 16)
            assert all(len(bar) in (1, 2) for bar in bars)
