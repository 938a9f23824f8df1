from __future__ import annotations

import pytest
import torch

from lightning_n2m.conditioning.conditioner import Augmentation
from lightning_n2m.conditioning.lowres import LowResolution
from lightning_n2m.errors import InputError
from tests.conditioning.common import CASCADER, SUPER_RESOLUTION, tones


def test_up_sampling_in_windows_equals_up_sampling_as_a_whole():
    conditioner, seconds = LowResolution(400, 1600, Augmentation()), 70
    expected, low = (tones(rate, rate * seconds, (3, 41.5, 120)) for rate in (1600, 400))
    upsampled = conditioner.match_length(low, 1600 * seconds)
    torch.testing.assert_close(upsampled[..., 400:-400], expected[..., 400:-400], atol=2e-3, rtol=0)


@pytest.mark.parametrize("conditioner", [CASCADER, SUPER_RESOLUTION], ids=["cascader", "super resolution"])
@pytest.mark.parametrize("time", [65_536, 48_000, 48_001, 48_002, 24_577])
def test_band_limited_audio_is_recovered_from_the_low_rate(conditioner, time):
    audio = tones(conditioner.target_rate, time)
    restored = conditioner.match_length(conditioner.degrade(audio), time)
    assert restored.shape == audio.shape
    inside = slice(1000, -1000)
    torch.testing.assert_close(restored[..., inside], audio[..., inside], atol=5e-3, rtol=0)


@pytest.mark.parametrize("low_time", [16_000, 16_001, 43_691])
def test_signals_of_any_length_are_not_shifted_in_time(low_time):
    high_time = low_time * 3 // 2
    matched = SUPER_RESOLUTION.match_length(tones(16_000, low_time), high_time)
    expected = tones(24_000, high_time)
    torch.testing.assert_close(matched[..., 500:-500], expected[..., 500:-500], atol=5e-3, rtol=0)


@pytest.mark.parametrize("seconds", [1.0, 1.0001, 1.0002, 1.00003, 0.33333, 2.71828])
@pytest.mark.parametrize("conditioner", [CASCADER, SUPER_RESOLUTION], ids=["cascader", "super resolution"])
def test_lengths_rounded_at_either_rate_fit(conditioner, seconds):
    signal = torch.randn(1, 1, round(seconds * conditioner.rate))
    length = round(seconds * conditioner.target_rate)
    assert conditioner.match_length(signal, length).shape == (1, 1, length)


def test_a_signal_that_is_far_too_short_is_refused():
    with pytest.raises(InputError, match=r"16000 samples at 16000 Hz.* need 20000"):
        SUPER_RESOLUTION.match_length(torch.zeros(1, 1, 16_000), 30_000)


def test_low_rate_audio_has_no_power_above_its_band():
    audio = torch.randn(1, 1, 65_536, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft(
        CASCADER.match_length(CASCADER.degrade(audio), 65_536)[0, 0] * torch.hann_window(65_536)
    )
    power = spectrum.abs().square()
    cut = 65_536 * 1650 // 16_000
    assert power[cut:].mean() < 1e-4 * power[:cut].mean()


@pytest.mark.parametrize("conditioner", [CASCADER, SUPER_RESOLUTION], ids=["cascader", "super resolution"])
def test_projection_replaces_the_band_of_the_signal_and_keeps_the_rest(conditioner):
    rate, time = conditioner.target_rate, conditioner.target_rate
    low, high = tones(rate, time, (70, 440.5, 1320)), tones(rate, time, (0.45 * rate,))
    wrong = tones(rate, time, (100, 501))
    projected = conditioner.project(wrong + high, conditioner.degrade(low))
    torch.testing.assert_close(projected[..., 1000:-1000], (low + high)[..., 1000:-1000], atol=5e-3, rtol=0)
