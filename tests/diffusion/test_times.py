"""Times have the distribution that they are named after, and their strata follow from the numbers alone."""

from __future__ import annotations

import pytest
import torch

from lightning_n2m.diffusion.schedule import CosineSchedule, LinearSchedule
from lightning_n2m.diffusion.times import TimeSampling

UNIFORM = (torch.arange(20_000) + 0.5) / 20_000


def strata(sampling, numbers, seed=0, stream=0):
    numbers = list(numbers)
    moved = sampling.stratify(torch.full((len(numbers),), 0.5), seed, [stream] * len(numbers), numbers)
    return (moved * sampling.strata).floor().int().tolist()


def test_the_default_is_uniform_bit_for_bit():
    sampling = TimeSampling()
    u = torch.rand(64)
    assert torch.equal(sampling.times(sampling.stratify(u, 0, [0] * 64, range(64)), CosineSchedule()), u)


@pytest.mark.parametrize("schedule", [CosineSchedule(), CosineSchedule(shift=2.0), LinearSchedule()])
def test_the_log_snr_is_normal_with_the_given_moments(schedule):
    """Within the schedule's range: mean, standard deviation and quartiles are those of the normal."""
    t = TimeSampling("log_snr_normal", mean=-0.5, std=1.5).times(UNIFORM, schedule)
    log_snr = schedule.log_snr(t).double()
    assert log_snr.mean().item() == pytest.approx(-0.5, abs=0.01)
    assert log_snr.std().item() == pytest.approx(1.5, rel=0.01)
    quartiles = log_snr.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
    assert quartiles == pytest.approx([-0.5 - 0.6745 * 1.5, -0.5 + 0.6745 * 1.5], abs=0.01)


def test_a_log_snr_outside_the_schedule_is_cut_off_without_a_point_mass():
    schedule = CosineSchedule(log_snr_max=2.0, log_snr_min=-2.0)
    t = TimeSampling("log_snr_normal", mean=1.0, std=2.0).times(UNIFORM, schedule)
    assert t.min() >= 0 and t.max() <= 1
    assert len(t.unique()) > 0.99 * len(t)


def test_logit_normal_times_have_the_median_and_quartiles_of_their_definition():
    t = TimeSampling("logit_normal", mean=0.4, std=0.8).times(UNIFORM, CosineSchedule()).double()
    logits = torch.special.logit(t)
    assert logits.median().item() == pytest.approx(0.4, abs=1e-3)
    assert logits.std().item() == pytest.approx(0.8, rel=0.01)


@pytest.mark.parametrize("distribution", ["uniform", "logit_normal", "log_snr_normal"])
def test_times_rise_with_the_uniform_number(distribution):
    t = TimeSampling(distribution).times(torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]), CosineSchedule())
    assert (t.diff() > 0).all() and t.min() >= 0 and t.max() <= 1


def test_each_sample_of_a_group_has_a_stratum_of_its_own():
    sampling = TimeSampling(strata=8)
    for group in range(5):
        found = strata(sampling, range(8 * group, 8 * group + 8))
        assert sorted(found) == list(range(8))
    orders = {tuple(strata(sampling, range(8 * group, 8 * group + 8))) for group in range(5)}
    assert len(orders) == 5, "the order differs between groups"
    assert strata(sampling, range(8)) != strata(sampling, range(8), seed=1)
    assert strata(sampling, range(8)) != strata(sampling, range(8), stream=1)


def test_strata_do_not_depend_on_the_batch():
    sampling = TimeSampling(strata=4)
    whole = strata(sampling, range(12))
    parts = [
        *strata(sampling, range(0, 3)),
        *strata(sampling, range(3, 10)),
        *strata(sampling, range(10, 12)),
    ]
    assert parts == whole


def test_stratified_times_estimate_a_mean_with_less_variance():
    """Of a smooth function, by a factor of the order of the group's size squared."""
    u = torch.rand(500, 16, generator=torch.Generator().manual_seed(0))
    numbers = list(range(u.numel()))
    moved = TimeSampling(strata=16).stratify(u.flatten(), 0, [0] * len(numbers), numbers).view_as(u)
    assert moved.square().mean().item() == pytest.approx(1 / 3, abs=0.002)
    assert moved.square().mean(1).var() < 0.02 * u.square().mean(1).var()
