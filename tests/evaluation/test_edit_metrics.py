from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_n2m.evaluation.edit_metrics import (
    beat_phase_error,
    chroma_correlation,
    loudness_jump,
    seam_window,
    similarity,
)

RATE = 16_000


def noise(seconds: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=generator)


def clicks(tempo: float, seconds: float, late: float = 0.0, after: float = 0.0) -> Tensor:
    """Bursts on the beats of a tempo, with off-beats; from the time ``after`` on they come ``late``."""
    audio = 1e-4 * noise(seconds, 1)
    burst = noise(0.02, 2)
    for half_beat in range(int(seconds * tempo / 30)):
        time = half_beat * 30 / tempo
        time += late if time >= after else 0
        start = round(time * RATE)
        if start + burst.shape[-1] < audio.shape[-1]:
            audio[:, start : start + burst.shape[-1]] += burst * (0.4 if half_beat % 2 else 1.0)
    return audio


def chord(*frequencies: float) -> Tensor:
    time = torch.arange(3 * RATE) / RATE
    return sum(0.1 * torch.sin(2 * torch.pi * f * time) for f in frequencies)[None]  # type: ignore[index]


@pytest.mark.parametrize("tempo", [70.0, 123.0])
@pytest.mark.parametrize("late", [0.0, 0.05, -0.04])
def test_the_phase_error_is_the_delay_of_the_beats(tempo: float, late: float) -> None:
    audio = clicks(tempo, 10.0, late, after=5.0)
    assert beat_phase_error(audio, RATE, tempo, 5.0) == pytest.approx(abs(late), abs=0.008)


def test_the_loudness_jump_is_in_decibels() -> None:
    audio = noise(4.0)
    assert loudness_jump(audio, RATE, 2.0) < 0.2
    audio[:, 2 * RATE :] *= 2
    assert loudness_jump(audio, RATE, 2.0) == pytest.approx(6.02, abs=0.2)


def test_chords_of_one_key_correlate_and_others_do_not() -> None:
    c_major, inverted = chord(261.63, 329.63, 392.0), chord(329.63, 392.0, 523.25)
    f_sharp = chord(369.99, 466.16, 277.18)
    assert chroma_correlation(c_major, inverted, RATE) > 0.9
    assert chroma_correlation(c_major, f_sharp, RATE) < 0


def test_similarity_falls_with_added_noise() -> None:
    audio = clicks(100.0, 3.0)
    values = [similarity(audio, audio + scale * noise(3.0, 3), RATE) for scale in (0.0, 0.01, 0.1)]
    assert values[0] == pytest.approx(1, abs=1e-5) and values[0] > values[1] > values[2]


def test_a_window_is_centred_on_the_seam() -> None:
    audio = torch.arange(10 * RATE)[None].float()
    window = seam_window(audio, RATE, 5.0, 2.0)
    assert window.shape == (1, 2 * RATE) and window[0, RATE] == 5 * RATE
