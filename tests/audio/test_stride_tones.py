"""Tones at the multiples of rate / stride: removed, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.audio.stride_tones import remove_stride_tones

RATE, STRIDE = 16_000, 4
TIME = torch.arange(2 * RATE, dtype=torch.float64) / RATE


def tone(hertz: float) -> torch.Tensor:
    return torch.cos(2 * math.pi * hertz * TIME + 0.3).float()[None, None]


def decibels(after: torch.Tensor, before: torch.Tensor) -> float:
    inner = slice(RATE // 4, -RATE // 4)  # the mean is shorter at the ends
    return 20 * math.log10(float(after[..., inner].std() / before[..., inner].std()))


@pytest.mark.parametrize("hertz", [4000, 8000])
def test_tones_at_the_multiples_of_rate_by_stride_are_removed(hertz):
    assert decibels(remove_stride_tones(tone(hertz), STRIDE, RATE // 2), tone(hertz)) < -60


@pytest.mark.parametrize(
    ("hertz", "length", "change"),
    [(3990, RATE // 2, 0.7), (4010, 2 * RATE // 3, 0.7), (1000, RATE // 2, 0.01), (440, RATE // 2, 0.01)],
)
def test_other_tones_stay(hertz, length, change):
    assert abs(decibels(remove_stride_tones(tone(hertz), STRIDE, length), tone(hertz))) < change


def test_the_notch_has_the_width_of_the_mean():
    """A mean over T seconds has its first zero at 1 / T: half way there, 1 - sinc(1/2) is left."""
    left = decibels(remove_stride_tones(tone(4001), STRIDE, RATE // 2), tone(4001))
    assert left == pytest.approx(20 * math.log10(1 - 2 / math.pi), abs=0.3)


def test_a_constant_and_the_length_stay():
    audio = torch.full((2, 1, 1003), 0.25)
    torch.testing.assert_close(remove_stride_tones(audio, STRIDE, 101), audio)
    assert remove_stride_tones(audio[..., :3], STRIDE, 101).equal(audio[..., :3])
    assert remove_stride_tones(audio, STRIDE, 10_000).shape == audio.shape
    assert remove_stride_tones(audio, 1, 100).equal(audio)
