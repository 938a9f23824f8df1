from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightning_n2m.audio.beats import beat_phase, estimate_beats, onset_strength

RATE = 16_000


def noise(seconds: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=generator)


def clicks(tempo: float, seconds: float, first: float = 0.3, between: float = 0.0) -> Tensor:
    """Bursts on the beats, and weaker ones or none between them."""
    audio = 1e-4 * noise(seconds, 1)
    burst = noise(0.02, 2)
    for half_beat in range(int((seconds - first - 0.05) * tempo / 30)):
        start = round((first + half_beat * 30 / tempo) * RATE)
        audio[:, start : start + burst.shape[-1]] += burst * (between if half_beat % 2 else 1.0)
    return audio


@pytest.mark.parametrize("tempo", [88.0, 100.0, 131.5])
@pytest.mark.parametrize("first", [0.05, 0.31])
def test_tempo_and_beats_of_clicks(tempo: float, first: float) -> None:
    beats = estimate_beats(clicks(tempo, 8.0, first), RATE)
    assert beats is not None
    assert beats.tempo == pytest.approx(tempo, rel=0.004)
    assert 0 <= beats.first < 60 / beats.tempo
    for number in (0, 8):  # the error of the tempo has not grown over a few seconds
        time = first + number * 60 / tempo
        position = (beats.at(time) + 0.5) % 1 - 0.5
        assert abs(position) * 60 / tempo < 0.02


def test_what_is_not_known_has_no_influence() -> None:
    audio = clicks(90.0, 10.0)
    expected = estimate_beats(audio[:, : 6 * RATE], RATE)
    disturbed = audio.clone()
    disturbed[:, 6 * RATE :] = 10 * clicks(143.0, 4.0)
    known = torch.arange(audio.shape[-1]) < 6 * RATE
    found = estimate_beats(disturbed, RATE, known)
    assert expected is not None and found is not None
    assert found.tempo == pytest.approx(expected.tempo, rel=0.003)
    assert found.first == pytest.approx(expected.first, abs=0.01)


def test_the_edge_of_what_is_known_is_no_onset() -> None:
    audio = 1e-3 * noise(8.0, 3)
    audio[:, 4 * RATE :] = noise(4.0, 4)
    known = torch.arange(audio.shape[-1]) < 4 * RATE
    assert estimate_beats(audio, RATE, known) is None


def test_a_search_near_a_tempo_does_not_leave_it() -> None:
    audio = clicks(100.0, 8.0)
    beats = estimate_beats(audio, RATE, tempo=103.0)
    assert beats is not None and beats.tempo == pytest.approx(100, rel=0.004)
    assert estimate_beats(audio, RATE, tempo=134.0) is None


@pytest.mark.parametrize("audio", [torch.zeros(1, 6 * RATE), noise(6.0), clicks(100.0, 1.5)])
def test_there_are_no_beats_in_silence_noise_or_a_second_of_music(audio: Tensor) -> None:
    assert estimate_beats(audio, RATE) is None


def test_the_sum_under_the_comb_is_that_of_a_loop() -> None:
    """Another implementation: positions of the beats one by one, on the onsets themselves."""
    audio, tempo = clicks(110.0, 6.0, first=0.2, between=0.3), 110.0
    strength = onset_strength(audio, RATE).double()
    part = strength[100:500] - strength[100:500].mean()
    best, place = -math.inf, 0.0
    for step in range(500):
        total = 0.0
        for frame, value in enumerate(part.tolist(), start=100):
            angle = 2 * math.pi * ((frame + 0.5) / 100 * tempo / 60 - step / 500)
            total += value * (math.cos(angle) + 0.5 * math.cos(2 * angle))
        if total > best:
            best, place = total, step / 500
    assert beat_phase(audio, RATE, tempo, 1.0, 5.0) == pytest.approx(place, abs=1e-9)
