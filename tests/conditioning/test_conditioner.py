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


def test_up_sampling_in_windows_equals_up_sampling_as_a_whole():
    conditioner, seconds = LowResolution(400, 1600, Augmentation()), 70
    expected, low = (tones(rate, rate * seconds, (3, 41.5, 120)) for rate in (1600, 400))
    upsampled = conditioner.match_length(low, 1600 * seconds)
    torch.testing.assert_close(upsampled[..., 400:-400], expected[..., 400:-400], atol=2e-3, rtol=0)


def test_the_draft_of_a_long_spectrogram_is_computed_in_windows():
    mel = MelSettings()
    conditioner = Spectrogram(mel, Augmentation(), draft_iterations=2)
    length = 70 * mel.sample_rate
    spectrogram = log_mel(tones(mel.sample_rate, length), mel)
    draft = conditioner.network_inputs(spectrogram, length)["stacked"]
    whole = griffin_lim(spectrogram, mel, 2)
    assert draft.shape == whole.shape
    # Equal power everywhere, also where windows overlap.
    for start in range(0, length, length // 14):
        part = slice(start, start + length // 14)
        power, expected = (float(x[..., part].square().mean()) for x in (draft, whole))
        assert power == pytest.approx(expected, rel=0.1)


# Signals -----------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("time", [16_000, 16_001, 15_999])
def test_projection_brings_the_log_mel_to_that_of_the_condition(time):
    target = VOCODER.degrade(tones(16_000, 16_000, (220, 660, 1500)))
    audio = 0.05 * torch.randn(1, 1, time, generator=torch.Generator().manual_seed(0))
    distances = []
    for _ in range(30):
        assert audio.shape == (1, 1, time)
        mel = VOCODER.degrade(audio)
        distances.append(float((mel[..., :99] - target[..., :99]).abs().mean()))
        audio = VOCODER.project(audio, target)
    assert distances[10] < distances[1] < distances[0]
    assert distances[-1] < 0.15 * distances[0]


def test_projection_onto_its_own_log_mel_keeps_the_audio():
    audio = tones(16_000, 16_000, (220, 660, 1500))
    projected = VOCODER.project(audio, VOCODER.degrade(audio))
    torch.testing.assert_close(projected[..., 800:-800], audio[..., 800:-800], atol=2e-3, rtol=0)


def test_the_spectrogram_has_a_frame_for_every_hop_of_the_output():
    audio = tones(16_000, 64_000)
    assert torch.equal(VOCODER.degrade(audio), log_mel(audio, MelSettings()))
    assert VOCODER.match_length(VOCODER.degrade(audio), 64_000).shape == (1, 80, 400)
    assert VOCODER.match_length(VOCODER.degrade(audio), 32_000).shape == (1, 80, 200)
    assert VOCODER.match_length(VOCODER.degrade(audio), 32_001).shape == (1, 80, 201)


def test_frames_are_centred_on_their_time():
    audio = torch.zeros(1, 1, 64_000)
    audio[..., 123 * 160] = 1
    assert VOCODER.degrade(audio).mean(1).argmax() == 123


# Augmentation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()], ids=["cosine", "linear"])
def test_level_0_is_the_clean_signal(schedule):
    signal = SUPER_RESOLUTION.degrade(tones(24_000, 2400))
    conditions = SUPER_RESOLUTION.for_sampling(signal, 2400, 0.0, schedule, PerSampleGenerator(0, [0]))
    assert torch.equal(conditions.stacked, SUPER_RESOLUTION.match_length(signal, 2400))
    assert conditions.level.tolist() == [0.0]


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()], ids=["cosine", "linear"])
@pytest.mark.parametrize("level", [0.01, 0.1, 0.5, 1.0])
def test_signal_and_noise_have_the_factors_of_the_schedule(schedule, level):
    signal = tones(16_000, 16_000).expand(4, 1, -1)
    conditions = SUPER_RESOLUTION.for_sampling(
        signal, 24_000, level, schedule, PerSampleGenerator(0, range(4))
    )
    clean = SUPER_RESOLUTION.match_length(signal, 24_000)
    expected = schedule.at(torch.tensor([level]))
    alpha, sigma = expected.alpha.item(), expected.sigma.item()
    noise = conditions.stacked - alpha * clean
    assert noise.std().item() == pytest.approx(sigma, rel=0.02)
    gain = (conditions.stacked * clean).sum() / clean.square().sum()
    assert gain.item() == pytest.approx(alpha, abs=0.02)
    assert conditions.level.tolist() == pytest.approx([level] * 4)


def test_scale_multiplies_the_signal_but_not_the_noise():
    loud = LowResolution(16_000, 24_000, Augmentation(), scale=4.0)
    signal, schedule = tones(16_000, 1600), CosineSchedule()

    def stacked(conditioner):
        return conditioner.for_sampling(signal, 2400, 0.3, schedule, PerSampleGenerator(0, [0])).stacked

    alpha = schedule.at(torch.tensor([0.3])).alpha
    matched = SUPER_RESOLUTION.match_length(signal, 2400)
    torch.testing.assert_close(
        stacked(loud) - stacked(SUPER_RESOLUTION), 3 * alpha * matched, atol=1e-5, rtol=0
    )
    without_noise = LowResolution(16_000, 24_000, Augmentation(t_max=0.0), scale=4.0)
    training = without_noise.augmented(signal, 2400, schedule, PerSampleGenerator(0, [0]))
    torch.testing.assert_close(training.stacked, 4 * matched)


def augmented(conditioner, numbers, time=1600, schedule=None):
    audio = tones(conditioner.target_rate, time).expand(len(numbers), 1, -1)
    return conditioner.augmented(
        conditioner.degrade(audio), time, schedule or CosineSchedule(), PerSampleGenerator("0 train", numbers)
    )


def test_every_draw_belongs_to_the_sample():
    batch, single = augmented(CASCADER, [5, 6, 7]), augmented(CASCADER, [6])
    torch.testing.assert_close(batch.stacked[1], single.stacked[0])
    assert batch.level[1] == single.level[0]
    assert len(set(batch.level.tolist())) == 3


@pytest.mark.parametrize("t_max", [0.5, 1.0])
def test_levels_are_uniform_up_to_the_highest(t_max):
    levels = augmented(LowResolution(3200, 16_000, Augmentation(t_max=t_max)), range(400), time=100).level
    quarters = torch.histc(levels, 4, 0, t_max)
    assert quarters.sum() == 400
    assert ((quarters - 100).abs() < 40).all()


def test_the_level_input_is_that_of_the_noise():
    conditions = augmented(LowResolution(3200, 16_000, Augmentation(t_max=1.0)), range(20), time=8000)
    clean = CASCADER.match_length(CASCADER.degrade(tones(16_000, 8000)), 8000)
    level = CosineSchedule().at(conditions.level)
    noise = (conditions.stacked - level.alpha * clean) / level.sigma
    torch.testing.assert_close(noise.std(dim=-1), torch.ones(20, 1), atol=0.05, rtol=0)


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_blur_is_applied_with_its_probability(probability, expected):
    blurring = LowResolution(3200, 16_000, Augmentation(0.0, (1.0, 5.0), probability))
    conditions = augmented(blurring, range(200), time=800)
    clean = blurring.match_length(blurring.degrade(tones(16_000, 800)), 800)
    changed = (conditions.stacked - clean).abs().amax(dim=(1, 2)) > 1e-3
    assert changed.float().mean().item() == pytest.approx(expected, abs=0.1)


def test_standard_deviations_of_the_blur_cover_their_range():
    blurring = LowResolution(16_000, 16_000, Augmentation(0.0, (0.5, 3.0), 1.0))
    impulse = torch.zeros(200, 1, 64)
    impulse[..., 32] = 1
    conditions = blurring.augmented(impulse, 64, CosineSchedule(), PerSampleGenerator(0, range(200)))
    # A wider kernel has a lower peak: 1 / (std sqrt(2 pi)) where ten taps hold nearly all of it.
    peaks = conditions.stacked.amax(dim=(1, 2))
    assert peaks.max() < 0.65
    assert peaks.min() < 0.16
    assert peaks.std() > 0.05


def test_spectrograms_are_augmented_as_the_aligned_input():
    mel = VOCODER.degrade(tones(16_000, 16_000).expand(3, 1, -1))
    conditions = VOCODER.augmented(mel, 16_000, LinearSchedule(), PerSampleGenerator(0, range(3)))
    assert conditions.stacked is None
    assert conditions.aligned.shape == (3, 80, 100)
    assert not torch.allclose(conditions.aligned, mel, atol=0.1)
    assert (
        VOCODER.for_sampling(mel, 16_000, 0.0, LinearSchedule(), PerSampleGenerator(0, range(3))).aligned
        is not None
    )


def test_the_draft_is_computed_from_the_noised_spectrogram():
    settings, scale = MelSettings(), 2.5
    drafting = Spectrogram(settings, Augmentation(0.2), scale, draft_iterations=3, draft_scale=4.0)
    assert drafting.input_slots == ("aligned", "stacked")
    mel = drafting.degrade(tones(16_000, 15_900).expand(2, 1, -1))
    for conditions in (
        drafting.augmented(mel, 15_900, CosineSchedule(), PerSampleGenerator(0, range(2))),
        drafting.for_sampling(mel, 15_900, 0.1, CosineSchedule(), PerSampleGenerator(0, range(2))),
    ):
        assert conditions.stacked.shape == (2, 1, 15_900)
        expected = 4.0 * griffin_lim(conditions.aligned / scale, settings, 3)
        torch.testing.assert_close(conditions.stacked[..., :15_840], expected)
        assert not conditions.stacked[..., 15_840:].any()  # not a whole frame
