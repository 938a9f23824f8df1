from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_n2m.audio.resample import fft_upsample, resample, resample_file


def tone(frequency, rate, seconds=1.0, phase=0.3):
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return torch.sin(2 * math.pi * frequency * t + phase).float()[None, None]


def level(x):
    return 20 * math.log10(x.square().mean().sqrt().item() * math.sqrt(2) + 1e-12)


# fft_upsample ------------------------------------------------------------------------------------

ROUTES = [(3200, 16_000), (16_000, 24_000)]
routes = pytest.mark.parametrize(("low", "high"), ROUTES)


@routes
@pytest.mark.parametrize("cycles", [1, 17, 300, 1500])
def test_periodic_tones_are_interpolated_exactly(low, high, cycles):
    raised = fft_upsample(tone(cycles, low), high, context=0)
    torch.testing.assert_close(raised, tone(cycles, high), atol=1e-5, rtol=0)


@routes
@pytest.mark.parametrize("frequency", [50.3, 440.7, 1234.5])
def test_any_tone_is_interpolated_except_at_the_ends(low, high, frequency):
    error = (fft_upsample(tone(frequency, low), high) - tone(frequency, high)).abs()[0, 0]
    assert error[high // 10 : -high // 10].max() < 0.006
    assert error[high // 100 : -high // 100].max() < 0.04


@routes
def test_different_ends_do_not_ring(low, high):
    ramp = torch.linspace(-1, 1, low)[None, None]
    exact = -1 + 2 * (torch.arange(high) / high * low / (low - 1))
    padded = (fft_upsample(ramp, high)[0, 0] - exact).abs()
    periodic = (fft_upsample(ramp, high, context=0)[0, 0] - exact).abs()
    inner = slice(high // 1000, -high // 1000)
    assert padded[inner].max() < periodic[inner].max() / 4
    assert padded.square().sum() < periodic.square().sum() / 200


@given(time=st.integers(2, 200), factor=st.integers(1, 6), context=st.integers(0, 80))
def test_the_given_samples_are_kept(time, factor, context):
    x = torch.randn(2, 1, time, generator=torch.Generator().manual_seed(time))
    raised = fft_upsample(x, factor * time, context)
    assert raised.shape == (2, 1, factor * time)
    torch.testing.assert_close(raised[..., ::factor], x, atol=1e-5, rtol=1e-5)


@given(time=st.integers(1, 60), more=st.integers(0, 120))
def test_any_larger_length_is_possible(time, more):
    raised = fft_upsample(torch.full((1, time), 0.3), time + more)
    torch.testing.assert_close(raised, torch.full((1, time + more), 0.3))


def test_ratios_without_a_whole_context_cause_no_shift():
    raised = fft_upsample(tone(50, 1000), 1501)
    torch.testing.assert_close(raised, tone(50, 1501), atol=1e-5, rtol=0)


@pytest.mark.parametrize("time", [50, 51])
@pytest.mark.parametrize("context", [0, 8])
def test_a_constant_stays_constant(time, context):
    torch.testing.assert_close(
        fft_upsample(torch.full((1, 1, time), -0.6), 5 * time, context), torch.full((1, 1, 5 * time), -0.6)
    )


def test_the_bin_at_the_old_nyquist_frequency_becomes_one_cosine():
    alternating = torch.cos(math.pi * torch.arange(64))
    expected = torch.cos(math.pi * torch.arange(128) / 2)
    torch.testing.assert_close(
        fft_upsample(alternating[None], 128, context=0)[0], expected, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(("time", "length"), [(100, 500), (101, 505), (100, 150), (90, 143)])
def test_the_mean_power_is_kept(time, length):
    x = torch.randn(1, time, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spectrum = torch.fft.rfft(x)
    spectrum[..., -1] = 0  # the bin at the Nyquist frequency, of which only half the power can stay
    x = torch.fft.irfft(spectrum, n=time)
    raised = fft_upsample(x, length, context=0)
    torch.testing.assert_close(raised.square().mean(), x.square().mean(), rtol=1e-5, atol=0)
    high = torch.fft.rfft(raised)[..., time // 2 + 1 :]
    assert high.abs().max() < 1e-4


def test_batches_and_channels_are_independent():
    x = torch.randn(3, 2, 40, generator=torch.Generator().manual_seed(0))
    raised = fft_upsample(x, 200)
    torch.testing.assert_close(raised[1, 1], fft_upsample(x[1, 1][None], 200)[0])


def test_a_smaller_length_is_refused():
    with pytest.raises(ValueError, match="100 samples to 99"):
        fft_upsample(torch.zeros(1, 100), 99)


# resample ----------------------------------------------------------------------------------------

RATES = [(24_000, 16_000), (24_000, 3200), (16_000, 3200), (16_000, 24_000), (44_100, 24_000)]


def by_torch(x, old, new):
    return resample(x, old, new)


def by_file(x, old, new):
    return resample_file(x[0], old, new)[None]


both = pytest.mark.parametrize("function", [by_torch, by_file])


@both
@pytest.mark.parametrize(("old", "new"), RATES)
@pytest.mark.parametrize("frequency", [60.0, 440.0, 1300.0])
def test_a_tone_keeps_pitch_phase_and_level(function, old, new, frequency):
    out, expected = function(tone(frequency, old), old, new), tone(frequency, new)
    assert out.shape == expected.shape
    inside = slice(new // 20, -new // 20)
    torch.testing.assert_close(out[..., inside], expected[..., inside], atol=3e-3, rtol=0)


@both
@pytest.mark.parametrize(
    ("old", "new", "frequency"), [(24_000, 3200, 2000), (24_000, 16_000, 9000), (16_000, 3200, 7900)]
)
def test_frequencies_above_the_new_band_are_removed_without_aliasing(function, old, new, frequency):
    out = function(tone(frequency, old), old, new)
    assert level(out[..., new // 20 : -new // 20]) < -60


@pytest.mark.parametrize(("old", "new"), RATES)
@pytest.mark.parametrize("time", [1000, 1001, 65_536])
def test_lengths_are_rounded_up(old, new, time):
    assert resample(torch.zeros(1, 1, time), old, new).shape[-1] == -(-time * new // old)


def test_equal_rates_change_nothing():
    x = torch.randn(1, 100)
    assert resample(x, 16_000, 16_000) is x
    assert resample_file(x, 16_000, 16_000) is x


def test_channels_of_a_file_are_independent():
    x = torch.cat([tone(300, 24_000)[0], torch.zeros(1, 24_000)])
    out = resample_file(x, 24_000, 16_000)
    assert out.dtype == torch.float32
    assert level(out[0]) > -1
    assert out[1].abs().max() == 0


def test_autocast_changes_nothing():
    samples = torch.randn(1, 1, 4800, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.autocast("cpu", torch.bfloat16):
        inside = resample(samples, 24_000, 3200)
    assert torch.equal(inside, resample(samples, 24_000, 3200))
