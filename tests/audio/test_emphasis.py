from __future__ import annotations

import math

import pytest
import scipy.signal
import torch

from lightning_n2m.audio.emphasis import emphasise, restore


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.95])
def test_restoring_is_the_inverse_also_above_full_scale(coefficient):
    audio = 3 * torch.randn(2, 1, 20_000)
    torch.testing.assert_close(restore(emphasise(audio, coefficient), coefficient), audio)


def test_both_are_the_filters_of_scipy():
    audio = torch.randn(1, 1, 500, dtype=torch.float64)
    expected = scipy.signal.lfilter([1, -0.9], [1], audio.numpy())
    torch.testing.assert_close(emphasise(audio, 0.9), torch.from_numpy(expected))
    expected = scipy.signal.lfilter([1], [1, -0.9], audio.numpy())
    torch.testing.assert_close(restore(audio.float(), 0.9), torch.from_numpy(expected).float())


def test_white_noise_is_left_with_the_spectrum_of_a_pole():
    torch.manual_seed(0)
    power = torch.fft.rfft(restore(torch.randn(4000, 1, 512), 0.9)[..., 256:]).abs().square().mean((0, 1))
    low, high = power[1:20].mean(), power[-20:].mean()
    # |1 / (1 - 0.9 e^-iw)|^2, between zero and Nyquist frequency, falls by 25.6 dB.
    assert 10 * math.log10(low / high) == pytest.approx(21.5, abs=2)


def test_autocast_does_not_coarsen_it():
    audio = torch.randn(1, 1, 1000)
    exact = restore(emphasise(audio, 0.9), 0.9)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(restore(emphasise(audio, 0.9), 0.9), exact)
