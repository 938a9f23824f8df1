from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lightning_n2m.evaluation.metrics.artefacts import measure_lines_of_one_seed
from lightning_n2m.evaluation.spectral_lines import clip_spectrum, largest_line

RATE = 16_000


def clips(tone=None, level=0.01, n=12):
    """Noise as loud as music, with notes that differ from clip to clip, and a tone that all clips share."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(4 * RATE) / RATE
    audio = 0.05 * torch.randn(n, 1, 4 * RATE, generator=generator)
    for number in range(n):
        audio[number] += 0.2 * torch.sin(2 * torch.pi * (180 + 37 * number) * time)
    if tone is not None:
        audio += level * torch.sin(2 * torch.pi * tone * time)
    return audio


def test_notes_that_differ_are_no_line():
    assert largest_line(clip_spectrum(clips()), RATE).excess < 4


@pytest.mark.parametrize("frequency", [500.0, 4000.0, 7990.0])
def test_a_common_tone_is_found_at_its_level(frequency):
    line = largest_line(clip_spectrum(clips(frequency)), RATE)
    assert line.frequency == pytest.approx(frequency, abs=4)
    # The tone's power over that of the noise in the width of the window, 1.5 bins.
    noise = 0.05**2 * 1.5 / (4096 / 2)
    assert line.excess == pytest.approx(float(10 * torch.tensor(0.01**2 / 2 / noise).log10()), abs=3)


def test_a_tone_in_half_of_the_clips_only_is_no_line():
    audio = torch.cat([clips(3000.0, n=5), clips(n=7)])
    assert largest_line(clip_spectrum(audio), RATE).excess < 4


def test_silence_has_no_line():
    assert largest_line(clip_spectrum(torch.zeros(4, 1, RATE)), RATE).excess == 0


def test_lines_of_one_noise_are_measured_beside_those_of_other_noises():
    """A comb that all clips of a seed share is a line; tones that differ from clip to clip are none."""
    one, other = clip_spectrum(clips(tone=3 * 467, n=8)), clip_spectrum(clips(n=8))
    (row,) = measure_lines_of_one_seed(SimpleNamespace(one_seed_spectra=one, other_seed_spectra=other))
    assert row.value > 10 > 3 * row.lower_bound and row.n == 8 and not row.higher_is_better
    assert "at 1402 Hz" in row.evaluator or "at 1398 Hz" in row.evaluator
    few = SimpleNamespace(one_seed_spectra=one[:7], other_seed_spectra=other[:7])
    none = SimpleNamespace(one_seed_spectra=None, other_seed_spectra=None)
    assert not list(measure_lines_of_one_seed(few)) and not list(measure_lines_of_one_seed(none))
