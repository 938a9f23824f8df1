"""The real accompanist and the real sound fonts, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_pipeline.starter_corpus import debian
from data_pipeline.starter_corpus.arrangement import arrange, plan
from data_pipeline.starter_corpus.events import DRUMS, perform
from data_pipeline.starter_corpus.harmony import Key, progression
from data_pipeline.starter_corpus.melody import METRES, Note
from data_pipeline.starter_corpus.mma import Accompanist
from data_pipeline.starter_corpus.styles import BANDS
from data_pipeline.starter_corpus.synthesizer import FONTS, RATE, Synthesizer


def at_hand(package: str, path: str) -> bool:
    return (Path("/") / path).exists() or (debian.cache_folder() / package / path).exists()


@pytest.fixture(scope="module")
def accompanist() -> Accompanist:
    if not at_hand("mma", "usr/bin/mma"):
        pytest.skip("MMA is not on this machine; 'python -m data_pipeline starter' fetches it")
    return Accompanist(debian.cache_folder())


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    pytest.importorskip("tinysoundfont")
    if not all(at_hand(*font) for font in FONTS.values()):
        pytest.skip("the sound fonts are not on this machine; 'python -m data_pipeline starter' fetches them")
    return Synthesizer(debian.cache_folder())


def pitch(samples: np.ndarray) -> float:
    """Fundamental in Hz, by autocorrelation."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 2 * len(samples))) ** 2
    correlation = np.fft.irfft(power)[: len(samples) // 2]
    shortest = RATE // 2000
    best = correlation[shortest : RATE // 50].max()
    # The first peak that is nearly the best: the best itself may be a multiple of the period.
    lags = np.flatnonzero(correlation[shortest : RATE // 50] > 0.9 * best) + shortest
    first = lags[0]
    while correlation[first + 1] > correlation[first]:
        first += 1
    return RATE / first


@pytest.mark.parametrize("font", sorted(FONTS))
@pytest.mark.parametrize("program", [0, 4, 16, 19, 21, 24, 40, 46, 48, 56, 65, 71, 73, 81])
def test_each_font_plays_the_pitch_that_is_written(synthesizer: Synthesizer, font: str, program: int) -> None:
    notes = [Note(index, 1.0, midi, 100) for index, midi in enumerate((60, 64, 67, 69, 72))]
    heard = synthesizer.render(perform(notes, 0, program, 60), font, 5.0)
    for index, note in enumerate(notes):
        part = heard[round((index + 0.2) * RATE) : round((index + 0.7) * RATE)]
        cents = 1200 * np.log2(pitch(part) / (440 * 2 ** ((note.pitch - 69) / 12)))
        # An organ's or trumpet's octave is a matter of its stops; a wrong note is not.
        assert abs((cents + 600) % 1200 - 600) < 40, note


@pytest.mark.parametrize("font", sorted(FONTS))
def test_instruments_are_equally_loud(synthesizer: Synthesizer, font: str) -> None:
    levels = []
    for program in (0, 6, 19, 24, 30, 40, 46, 56, 73, 81):
        notes = [Note(index / 2, 0.5, midi, 100) for index, midi in enumerate((60, 65, 70, 72))]
        heard = synthesizer.render(perform(notes, 0, program, 60), font, 2.0)
        levels.append(10 * np.log10(np.mean(heard**2)))
    assert np.ptp(levels) < 9, levels


def test_rendering_does_not_depend_on_what_came_before(synthesizer: Synthesizer) -> None:
    events = perform([Note(0, 1, 60, 90), Note(1, 1, 64, 90)], 0, 40, 120)
    first = synthesizer.render(events, "MuseScore_General_Lite", 1.0)
    synthesizer.render(perform([Note(0, 9, 50, 127)], 0, 19, 60), "FluidR3_GM", 0.5)
    assert np.array_equal(first, synthesizer.render(events, "MuseScore_General_Lite", 1.0))
    assert not synthesizer.render([], "FluidR3_GM", 1.0).any()


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


def test_a_piece_sounds_as_its_truth_says(accompanist: Accompanist, synthesizer: Synthesizer) -> None:
    for number in range(12):
        chosen = plan(3, number)
        piece = arrange(chosen, accompanist)
        assert bool(piece.drums) == piece.truth.drums
        assert all(event.channel == DRUMS for event in piece.drums)
        assert all(event.channel != DRUMS for event in piece.rest)
        lead = synthesizer.render(piece.lead, chosen.sound_font, 4.0)
        assert np.abs(lead).max() > 1e-3
