from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.audio.mel import MelSettings, griffin_lim, log_mel
from lightning_n2m.conditioning.conditioner import Augmentation
from lightning_n2m.conditioning.lowres import LowResolution
from lightning_n2m.conditioning.spectrogram import Spectrogram
from lightning_n2m.diffusion.schedule import CosineSchedule, LinearSchedule
from lightning_n2m.errors import InputError
from lightning_n2m.seeding import PerSampleGenerator

CASCADER = LowResolution(3200, 16_000, Augmentation(t_max=0.5, blur_std=(0.1, 5.0)))
SUPER_RESOLUTION = LowResolution(16_000, 24_000, Augmentation())
VOCODER = Spectrogram(MelSettings(), Augmentation(blur_std=(0.2, 1.0)))


def tones(rate, time, frequencies=(70, 440.5, 1320)):
    t = torch.arange(time, dtype=torch.float64) / rate
    return sum(0.3 * torch.sin(2 * math.pi * f * t + f) for f in frequencies).float()[None, None]


def test_a_long_signal_is_raised_in_windows_as_it_would_be_in_one():
    conditioner, seconds = LowResolution(400, 1600, Augmentation()), 70
    expected, low = (tones(rate, rate * seconds, (3, 41.5, 120)) for rate in (1600, 400))
    raised = conditioner.match_length(low, 1600 * seconds)
    torch.testing.assert_close(raised[..., 400:-400], expected[..., 400:-400], atol=2e-3, rtol=0)


def test_the_draft_of_a_long_spectrogram_is_drawn_in_windows():
    mel = MelSettings()
    conditioner = Spectrogram(mel, Augmentation(), draft_iterations=2)
    length = 70 * mel.sample_rate
    spectrogram = log_mel(tones(mel.sample_rate, length), mel)
    draft, whole = (
        conditioner.network_inputs(spectrogram, length)["stacked"],
        griffin_lim(spectrogram, mel, 2),
    )
    assert draft.shape == whole.shape
    for start in range(0, length, length // 14):  # as loud everywhere, at the seams too
        ours, theirs = (float(x[..., start : start + length // 14].square().mean()) for x in (draft, whole))
        assert ours == pytest.approx(theirs, rel=0.1)


# Signals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("conditioner", [CASCADER, SUPER_RESOLUTION], ids=["cascader", "super resolution"])
@pytest.mark.parametrize("time", [65_536, 48_000, 48_001, 48_002, 24_577])
def test_a_band_limited_signal_survives_the_way_down_and_up(conditioner, time):
    audio = tones(conditioner.target_rate, time)
    restored = conditioner.match_length(conditioner.degrade(audio), time)
    assert restored.shape == audio.shape
    inside = slice(1000, -1000)
    torch.testing.assert_close(restored[..., inside], audio[..., inside], atol=5e-3, rtol=0)


@pytest.mark.parametrize("low_time", [16_000, 16_001, 43_691])
def test_delivered_audio_of_any_length_keeps_its_place_in_time(low_time):
    high_time = low_time * 3 // 2
    fitted = SUPER_RESOLUTION.match_length(tones(16_000, low_time), high_time)
    expected = tones(24_000, high_time)
    torch.testing.assert_close(fitted[..., 500:-500], expected[..., 500:-500], atol=5e-3, rtol=0)


@pytest.mark.parametrize("seconds", [1.0, 1.0001, 1.0002, 1.00003, 0.33333, 2.71828])
@pytest.mark.parametrize("conditioner", [CASCADER, SUPER_RESOLUTION], ids=["cascader", "super resolution"])
def test_lengths_rounded_at_either_rate_fit(conditioner, seconds):
    signal = torch.randn(1, 1, round(seconds * conditioner.rate))
    length = round(seconds * conditioner.target_rate)
    assert conditioner.match_length(signal, length).shape == (1, 1, length)


def test_a_signal_that_is_far_too_short_is_refused():
    with pytest.raises(InputError, match=r"16000 samples at 16000 Hz.* need 20000"):
        SUPER_RESOLUTION.match_length(torch.zeros(1, 1, 16_000), 30_000)


def test_low_resolution_audio_holds_nothing_above_its_band():
    audio = torch.randn(1, 1, 65_536, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft(
        CASCADER.match_length(CASCADER.degrade(audio), 65_536)[0, 0] * torch.hann_window(65_536)
    )
    power = spectrum.abs().square()
    cut = 65_536 * 1650 // 16_000
    assert power[cut:].mean() < 1e-4 * power[:cut].mean()


@pytest.mark.parametrize("conditioner", [CASCADER, SUPER_RESOLUTION], ids=["cascader", "super resolution"])
def test_audio_in_agreement_has_the_band_of_the_signal_and_keeps_what_lies_above(conditioner):
    rate, time = conditioner.target_rate, conditioner.target_rate
    low, high = tones(rate, time, (70, 440.5, 1320)), tones(rate, time, (0.45 * rate,))
    wrong = tones(rate, time, (100, 501))
    agreed = conditioner.project(wrong + high, conditioner.degrade(low))
    torch.testing.assert_close(agreed[..., 1000:-1000], (low + high)[..., 1000:-1000], atol=5e-3, rtol=0)


@pytest.mark.parametrize("time", [16_000, 16_001, 15_999])
def test_agreement_brings_the_log_mel_to_the_one_that_is_told(time):
    told = VOCODER.degrade(tones(16_000, 16_000, (220, 660, 1500)))
    audio = 0.05 * torch.randn(1, 1, time, generator=torch.Generator().manual_seed(0))
    apart = []
    for _ in range(30):
        assert audio.shape == (1, 1, time)
        heard = VOCODER.degrade(audio)
        apart.append(float((heard[..., :99] - told[..., :99]).abs().mean()))
        audio = VOCODER.project(audio, told)
    assert apart[10] < apart[1] < apart[0] and apart[-1] < 0.15 * apart[0]


def test_agreement_leaves_the_audio_that_is_told_as_it_is():
    audio = tones(16_000, 16_000, (220, 660, 1500))
    agreed = VOCODER.project(audio, VOCODER.degrade(audio))
    torch.testing.assert_close(agreed[..., 800:-800], audio[..., 800:-800], atol=2e-3, rtol=0)


def test_the_spectrogram_has_a_frame_for_every_hop_of_the_output():
    audio = tones(16_000, 64_000)
    assert torch.equal(VOCODER.degrade(audio), log_mel(audio, MelSettings()))
    assert VOCODER.match_length(VOCODER.degrade(audio), 64_000).shape == (1, 80, 400)
    assert VOCODER.match_length(VOCODER.degrade(audio), 32_000).shape == (1, 80, 200)
    assert VOCODER.match_length(VOCODER.degrade(audio), 32_001).shape == (1, 80, 201)


def test_frames_lie_where_the_sound_is():
    audio = torch.zeros(1, 1, 64_000)
    audio[..., 123 * 160] = 1
    assert VOCODER.degrade(audio).mean(1).argmax() == 123


# Augmentation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()], ids=["cosine", "linear"])
def test_level_0_is_the_clean_signal(schedule):
    signal = SUPER_RESOLUTION.degrade(tones(24_000, 2400))
    told = SUPER_RESOLUTION.for_sampling(signal, 2400, 0.0, schedule, PerSampleGenerator(0, [0]))
    assert torch.equal(told.stacked, SUPER_RESOLUTION.match_length(signal, 2400))
    assert told.level.tolist() == [0.0]


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()], ids=["cosine", "linear"])
@pytest.mark.parametrize("level", [0.01, 0.1, 0.5, 1.0])
def test_noise_and_signal_at_a_level_are_the_schedules(schedule, level):
    signal = tones(16_000, 16_000).expand(4, 1, -1)
    told = SUPER_RESOLUTION.for_sampling(signal, 24_000, level, schedule, PerSampleGenerator(0, range(4)))
    clean = SUPER_RESOLUTION.match_length(signal, 24_000)
    expected = schedule.at(torch.tensor([level]))
    alpha, sigma = expected.alpha.item(), expected.sigma.item()
    noise = told.stacked - alpha * clean
    assert noise.std().item() == pytest.approx(sigma, rel=0.02)
    gain = (told.stacked * clean).sum() / clean.square().sum()
    assert gain.item() == pytest.approx(alpha, abs=0.02)
    assert told.level.tolist() == pytest.approx([level] * 4)


def test_scale_multiplies_the_signal_but_not_the_noise():
    loud = LowResolution(16_000, 24_000, Augmentation(), scale=4.0)
    signal, schedule = tones(16_000, 1600), CosineSchedule()

    def told(conditioner):
        return conditioner.for_sampling(signal, 2400, 0.3, schedule, PerSampleGenerator(0, [0])).stacked

    alpha = schedule.at(torch.tensor([0.3])).alpha
    fitted = SUPER_RESOLUTION.match_length(signal, 2400)
    torch.testing.assert_close(told(loud) - told(SUPER_RESOLUTION), 3 * alpha * fitted, atol=1e-5, rtol=0)
    untouched = LowResolution(16_000, 24_000, Augmentation(t_max=0.0), scale=4.0)
    training = untouched.augmented(signal, 2400, schedule, PerSampleGenerator(0, [0]))
    torch.testing.assert_close(training.stacked, 4 * fitted)


def augmented(conditioner, numbers, time=1600, schedule=None):
    audio = tones(conditioner.target_rate, time).expand(len(numbers), 1, -1)
    return conditioner.augmented(
        conditioner.degrade(audio), time, schedule or CosineSchedule(), PerSampleGenerator("0 train", numbers)
    )


def test_every_draw_belongs_to_the_sample():
    together, alone = augmented(CASCADER, [5, 6, 7]), augmented(CASCADER, [6])
    torch.testing.assert_close(together.stacked[1], alone.stacked[0])
    assert together.level[1] == alone.level[0]
    assert len(set(together.level.tolist())) == 3


@pytest.mark.parametrize("t_max", [0.5, 1.0])
def test_levels_are_uniform_up_to_the_highest(t_max):
    levels = augmented(LowResolution(3200, 16_000, Augmentation(t_max=t_max)), range(400), time=100).level
    quarters = torch.histc(levels, 4, 0, t_max)
    assert quarters.sum() == 400
    assert ((quarters - 100).abs() < 40).all()


def test_the_told_level_is_that_of_the_noise():
    told = augmented(LowResolution(3200, 16_000, Augmentation(t_max=1.0)), range(20), time=8000)
    clean = CASCADER.match_length(CASCADER.degrade(tones(16_000, 8000)), 8000)
    level = CosineSchedule().at(told.level)
    noise = (told.stacked - level.alpha * clean) / level.sigma
    torch.testing.assert_close(noise.std(dim=-1), torch.ones(20, 1), atol=0.05, rtol=0)


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_blur_strikes_its_share_of_the_samples(probability, expected):
    blurring = LowResolution(3200, 16_000, Augmentation(0.0, (1.0, 5.0), probability))
    told = augmented(blurring, range(200), time=800)
    clean = blurring.match_length(blurring.degrade(tones(16_000, 800)), 800)
    changed = (told.stacked - clean).abs().amax(dim=(1, 2)) > 1e-3
    assert changed.float().mean().item() == pytest.approx(expected, abs=0.1)


def test_widths_of_the_blur_fill_their_range():
    blurring = LowResolution(16_000, 16_000, Augmentation(0.0, (0.5, 3.0), 1.0))
    impulse = torch.zeros(200, 1, 64)
    impulse[..., 32] = 1
    told = blurring.augmented(impulse, 64, CosineSchedule(), PerSampleGenerator(0, range(200)))
    # A wider kernel has a lower peak: 1 / (std sqrt(2 pi)) where ten taps hold nearly all of it.
    peaks = told.stacked.amax(dim=(1, 2))
    assert peaks.max() < 0.65
    assert peaks.min() < 0.16
    assert peaks.std() > 0.05


def test_spectrograms_are_augmented_at_the_aligned_entrance():
    mel = VOCODER.degrade(tones(16_000, 16_000).expand(3, 1, -1))
    told = VOCODER.augmented(mel, 16_000, LinearSchedule(), PerSampleGenerator(0, range(3)))
    assert told.stacked is None
    assert told.aligned.shape == (3, 80, 100)
    assert not torch.allclose(told.aligned, mel, atol=0.1)
    assert (
        VOCODER.for_sampling(mel, 16_000, 0.0, LinearSchedule(), PerSampleGenerator(0, range(3))).aligned
        is not None
    )


def test_a_draft_is_griffin_and_lims_waveform_of_the_very_spectrogram_that_is_told():
    settings, scale = MelSettings(), 2.5
    drafting = Spectrogram(settings, Augmentation(0.2), scale, draft_iterations=3, draft_scale=4.0)
    assert drafting.input_slots == ("aligned", "stacked")
    mel = drafting.degrade(tones(16_000, 15_900).expand(2, 1, -1))
    for told in (
        drafting.augmented(mel, 15_900, CosineSchedule(), PerSampleGenerator(0, range(2))),
        drafting.for_sampling(mel, 15_900, 0.1, CosineSchedule(), PerSampleGenerator(0, range(2))),
    ):
        assert told.stacked.shape == (2, 1, 15_900)
        expected = 4.0 * griffin_lim(told.aligned / scale, settings, 3)
        torch.testing.assert_close(told.stacked[..., :15_840], expected)
        assert not told.stacked[..., 15_840:].any()  # of no whole frame
