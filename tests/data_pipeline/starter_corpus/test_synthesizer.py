"""The real sound fonts and drum kits."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.starter_corpus.events import DRUMS, Event, perform
from data_pipeline.starter_corpus.melody import Note
from data_pipeline.starter_corpus.sounds import fonts, kits
from data_pipeline.starter_corpus.synthesizer import RATE, Synthesizer


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


@pytest.mark.parametrize("font", sorted(fonts(2)))
@pytest.mark.parametrize("program", [0, 4, 16, 19, 21, 24, 40, 46, 48, 56, 65, 71, 73, 81])
def test_each_font_plays_the_pitch_that_is_written(synthesizer: Synthesizer, font: str, program: int) -> None:
    notes = [Note(index, 1.0, midi, 100) for index, midi in enumerate((60, 64, 67, 69, 72))]
    samples = synthesizer.render(perform(notes, 0, program, 60), font, 5.0)
    for index, note in enumerate(notes):
        part = samples[round((index + 0.2) * RATE) : round((index + 0.7) * RATE)]
        cents = 1200 * np.log2(pitch(part) / (440 * 2 ** ((note.pitch - 69) / 12)))
        # An organ's or trumpet's octave is a matter of its stops; a wrong note is not.
        assert abs((cents + 600) % 1200 - 600) < 40, note


@pytest.mark.parametrize("font", sorted(fonts(2)))
def test_instruments_are_equally_loud(synthesizer: Synthesizer, font: str) -> None:
    levels = []
    for program in (0, 6, 19, 24, 30, 40, 46, 56, 73, 81):
        notes = [Note(index / 2, 0.5, midi, 100) for index, midi in enumerate((60, 65, 70, 72))]
        samples = synthesizer.render(perform(notes, 0, program, 60), font, 2.0)
        levels.append(10 * np.log10(np.mean(samples**2)))
    assert np.ptp(levels) < 9, levels


def test_rendering_does_not_depend_on_what_came_before(synthesizer: Synthesizer) -> None:
    events = perform([Note(0, 1, 60, 90), Note(1, 1, 64, 90)], 0, 40, 120)
    first = synthesizer.render(events, "MuseScore_General_Lite", 1.0)
    synthesizer.render(perform([Note(0, 9, 50, 127)], 0, 19, 60), "FluidR3_GM", 0.5)
    assert np.array_equal(first, synthesizer.render(events, "MuseScore_General_Lite", 1.0))
    assert not synthesizer.render([], "FluidR3_GM", 1.0).any()


def drum_events(keys: list[int]) -> list[Event]:
    """One hit per half second."""
    return sorted(
        event
        for index, key in enumerate(keys)
        for event in (
            Event(index / 2, 2, DRUMS, "on", key, 100),
            Event(index / 2 + 0.1, 1, DRUMS, "off", key),
        )
    )


@pytest.mark.parametrize("kit", sorted(kits(2)))
def test_a_recorded_kit_plays_its_own_keys_and_the_font_the_others(
    synthesizer: Synthesizer, kit: str
) -> None:
    keys = [35, 36, 38, 42, 49, 64, 70]  # 35 is a second bass drum, 64 a conga and 70 maracas
    samples = synthesizer.render_drums(drum_events(keys), "FluidR3_GM", kit, len(keys) / 2)
    for index, key in enumerate(keys):
        hit = samples[round(index / 2 * RATE) : round((index / 2 + 0.4) * RATE)]
        assert np.sqrt(np.mean(hit**2)) > 1e-3, key
    font = synthesizer.render_drums(drum_events([38]), "FluidR3_GM", "", 0.5)
    assert not np.allclose(font, synthesizer.render_drums(drum_events([38]), "FluidR3_GM", kit, 0.5))
