from __future__ import annotations

import pytest
import torch

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
