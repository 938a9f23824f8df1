from __future__ import annotations

import pytest
import torch

from lightning_n2m.conditioning.conditioner import Augmentation
from lightning_n2m.conditioning.lowres import LowResolution
from lightning_n2m.diffusion.schedule import CosineSchedule, LinearSchedule
from lightning_n2m.seeding import PerSampleGenerator
from tests.conditioning.common import CASCADER, SUPER_RESOLUTION, tones


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
