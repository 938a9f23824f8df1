from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_n2m.audio.mel import MelSettings, griffin_lim, log_mel, to_magnitude

SETTINGS = MelSettings()


def hz_of(mel):
    """Slaney's scale: linear to 1 kHz in steps of 200/3 Hz, then 27 steps for a factor of 6.4."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def mel_of(hz):
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def edges(settings):
    points = np.linspace(mel_of(settings.f_min), mel_of(settings.f_max), settings.channels + 2)
    return hz_of(points)


def reference(audio, settings):
    """The log-mel in numpy: frames by hand, triangles of unit area."""
    half = settings.window // 2
    padded = np.pad(audio, half, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.window) / settings.window)
    frames = len(audio) // settings.hop
    spectra = np.stack(
        [
            np.abs(np.fft.rfft(window * padded[i * settings.hop : i * settings.hop + settings.window]))
            for i in range(frames)
        ],
        axis=1,
    )
    bins = np.arange(half + 1) * settings.sample_rate / settings.window
    filters = []
    for low, middle, high in zip(
        *(edges(settings)[i : i + settings.channels] for i in range(3)), strict=True
    ):
        triangle = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
        filters.append(np.maximum(triangle, 0) * 2 / (high - low))
    logs = np.log(np.maximum(np.stack(filters) @ spectra, settings.floor))
    return 2 * (logs - settings.low) / (settings.high - settings.low) - 1


def music(time=8000, seed=0):
    """Three decaying harmonic notes and a little noise."""
    t = torch.arange(time) / 16_000
    chord = sum(torch.sin(2 * math.pi * f * k * t) / k for f in (220, 277, 330) for k in range(1, 6))
    noise = torch.randn(time, generator=torch.Generator().manual_seed(seed))
    return (0.1 * chord * torch.exp(-2 * t) + 0.003 * noise)[None, None]


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        MelSettings(
            sample_rate=24_000, channels=32, hop=240, window=512, f_min=0, f_max=12_000, low=-8, high=4
        ),
    ],
)
def test_it_equals_a_second_implementation(settings):
    audio = music()
    expected = torch.from_numpy(reference(audio[0, 0].double().numpy(), settings))
    torch.testing.assert_close(log_mel(audio, settings)[0].double(), expected, atol=2e-3, rtol=0)


@given(frames=st.integers(5, 60), rest=st.integers(0, 159))
def test_frames_are_samples_by_the_hop_exactly(frames, rest):
    assert log_mel(torch.zeros(2, 1, frames * 160 + rest), SETTINGS).shape == (2, 80, frames)


@pytest.mark.parametrize("channel", [3, 20, 41, 60, 77])
def test_a_tone_has_its_maximum_in_the_channel_centred_on_it(channel):
    frequency = float(edges(SETTINGS)[channel + 1])
    tone = torch.sin(2 * math.pi * frequency * torch.arange(8000) / 16_000)
    assert log_mel(tone[None, None], SETTINGS)[0, :, 25].argmax() == channel


def test_a_click_has_its_maximum_in_the_frames_around_it():
    audio = torch.zeros(1, 1, 8000)
    audio[..., 20 * 160] = 1.0
    energy = to_magnitude(log_mel(audio, SETTINGS), SETTINGS).sum(1)[0]
    assert energy.argmax() == 20
    torch.testing.assert_close(energy[17:20], energy[21:24].flip(0), rtol=1e-2, atol=1e-3)


def test_loud_and_silent_audio_stay_within_the_range():
    noise = torch.rand(1, 1, 16_000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    square = torch.sign(torch.sin(2 * math.pi * 110 * torch.arange(16_000) / 16_000))[None, None]
    for audio in (torch.zeros(1, 1, 16_000), music(), noise, square):
        assert log_mel(audio, SETTINGS).abs().max() <= 1.002
    torch.testing.assert_close(
        log_mel(torch.zeros(1, 1, 800), SETTINGS), torch.full((1, 80, 5), -1.0), atol=0.002, rtol=0
    )


def test_the_log_mel_increases_with_the_level():
    mels = torch.cat([log_mel(gain * music(), SETTINGS) for gain in (0.001, 0.01, 0.1, 1.0, 3.0)])
    assert (mels.diff(dim=0) >= 0).all()


def test_a_gain_is_an_offset():
    audio = 0.1 * music()
    audible = log_mel(audio, SETTINGS) > -0.9
    difference = (log_mel(3 * audio, SETTINGS) - log_mel(audio, SETTINGS))[audible]
    expected = 2 * math.log(3) / (SETTINGS.high - SETTINGS.low)
    torch.testing.assert_close(difference, torch.full_like(difference, expected), atol=1e-3, rtol=0)


def test_magnitudes_are_the_inverse_of_the_scaling():
    magnitude = to_magnitude(torch.tensor([[[-1.0, 0.0, 1.0]]]), SETTINGS)[0, 0]
    low, high = SETTINGS.low, SETTINGS.high
    torch.testing.assert_close(magnitude.log(), torch.tensor([low, (low + high) / 2, high]))


def test_samples_of_a_batch_are_independent():
    batch = torch.cat([music(seed=0), 0.1 * music(seed=1)])
    torch.testing.assert_close(log_mel(batch, SETTINGS)[1:], log_mel(batch[1:], SETTINGS), atol=1e-5, rtol=0)


def test_griffin_lim_has_the_log_mel_of_its_input():
    mel = log_mel(music(16_000), SETTINGS)
    audio = griffin_lim(mel, SETTINGS)
    assert audio.shape == (1, 1, 16_000)
    again = log_mel(audio, SETTINGS)
    backwards = log_mel(music(16_000).flip(-1), SETTINGS)
    assert (again - mel).abs().mean() < 0.5 * (backwards - mel).abs().mean()
    # The level is right too, to within 1 dB.
    decibel = 20 / math.log(10) * (SETTINGS.high - SETTINGS.low) / 2
    assert ((again - mel).mean() * decibel).abs() < 1


def test_griffin_lim_keeps_the_pitch():
    t = torch.arange(16_000) / 16_000
    audio = griffin_lim(log_mel(0.5 * torch.sin(2 * math.pi * 1000 * t)[None, None], SETTINGS), SETTINGS)
    spectrum = torch.fft.rfft(audio[0, 0] * torch.hann_window(16_000)).abs()
    assert abs(spectrum.argmax().item() - 1000) < 30


def test_autocast_changes_nothing():
    audio = torch.randn(1, 1, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    settings = MelSettings()
    mel = log_mel(audio, settings)
    wave = griffin_lim(mel, settings, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(log_mel(audio, settings), mel)
        assert torch.equal(griffin_lim(mel, settings, 2), wave)
