from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_n2m.diffusion.schedule import CosineSchedule, LinearSchedule

SCHEDULES = [
    CosineSchedule(),
    CosineSchedule(log_snr_max=12, log_snr_min=-15),
    CosineSchedule(shift=-2.0),
    LinearSchedule(),
    LinearSchedule(shift=1.5),
]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES)

# Section 3.2 of the paper's fact sheet: t, log-SNR and sigma of the linear and of the cosine schedule.
TABLE = [
    (0.0, 9.21, 0.010, 20.0, 0.000),
    (0.01, 6.22, 0.045, 8.30, 0.016),
    (0.05, 3.50, 0.172, 5.08, 0.079),
    (0.2, 0.66, 0.585, 2.25, 0.309),
    (0.5, -2.46, 0.960, 0.00, 0.707),
    (1.0, -10.05, 1.000, -20.0, 1.000),
]


def at(schedule, t):
    level = schedule.at(torch.tensor([t], dtype=torch.float64))
    return level.log_snr.item(), level.alpha.item(), level.sigma.item()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"t={row[0]}")
def test_levels_are_those_of_the_table(row):
    t, linear, linear_sigma, cosine, cosine_sigma = row
    log_snr, _, sigma = at(CosineSchedule(), t)
    assert log_snr == pytest.approx(cosine, abs=0.006)
    assert sigma == pytest.approx(cosine_sigma, abs=6e-4)
    # The table leaves out the first step of DDPM, a variance of 1e-4 that matters near t = 0 only.
    log_snr, _, sigma = at(LinearSchedule(), t)
    assert log_snr == pytest.approx(linear, abs=0.06)
    assert sigma == pytest.approx(linear_sigma, abs=2e-3)


def test_cosine_runs_exactly_from_20_to_minus_20():
    ends = CosineSchedule().log_snr(torch.tensor([0.0, 1.0]))
    assert ends.tolist() == [20.0, -20.0]


def test_cosine_alpha_is_the_cosine_of_a_t_plus_b():
    b = math.atan(math.exp(-10))
    a = math.atan(math.exp(10)) - b
    for t in (0.0, 0.013, 0.3, 0.77, 0.99, 1.0):
        _, alpha, sigma = at(CosineSchedule(), t)
        assert alpha == pytest.approx(math.cos(a * t + b), rel=1e-6)
        assert sigma == pytest.approx(math.sin(a * t + b), rel=1e-6)


def test_cosine_is_symmetric_in_signal_and_noise():
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    schedule = CosineSchedule()
    torch.testing.assert_close(schedule.log_snr(t), -schedule.log_snr(1 - t), rtol=1e-5, atol=1e-5)


def test_linear_is_the_product_of_the_thousand_ddpm_steps():
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha2 = torch.cumprod(1 - betas, dim=0)
    discrete = torch.log(alpha2 / (1 - alpha2))
    continuous = LinearSchedule().log_snr(torch.arange(1000, dtype=torch.float64) / 1000).double()
    assert discrete[0] == pytest.approx(continuous[0].item(), abs=1e-3)
    # 1 - beta and exp(-beta) part by beta^2 / 2 a step: 0.07 over all of them.
    assert (discrete - continuous).abs().max() < 0.1
    assert (discrete - continuous).abs().mean() < 0.05


def test_linear_loses_signal_at_the_rate_beta():
    schedule, h = LinearSchedule(), 1e-5
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)

    def log_alpha2(t):
        return torch.nn.functional.logsigmoid(schedule.unshifted_log_snr(t))

    rate = -(log_alpha2(t + h) - log_alpha2(t - h)) / (2 * h)
    torch.testing.assert_close(rate, 1000 * (1e-4 + (0.02 - 1e-4) * t), rtol=1e-6, atol=1e-6)


@every_schedule
@given(times=st.lists(st.floats(0, 1), min_size=2, max_size=8, unique=True))
def test_noise_increases_with_time(schedule, times):
    t = torch.tensor(sorted(times), dtype=torch.float64)
    log_snr = schedule.log_snr(t)
    assert (log_snr.diff() <= 0).all()
    assert (log_snr.diff()[t.diff() > 1e-4] < 0).all()


@every_schedule
def test_variance_is_preserved(schedule):
    level = schedule.at(torch.rand(200))
    torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.ones(200, 1, 1))


def test_shift_multiplies_the_signal_to_noise_ratio():
    t = torch.linspace(0.05, 0.95, 7)
    for kind in (CosineSchedule, LinearSchedule):
        plain, shifted = kind().at(t), kind(shift=-3.0).at(t)
        ratio = (shifted.alpha / shifted.sigma) ** 2 / (plain.alpha / plain.sigma) ** 2
        torch.testing.assert_close(ratio, torch.full_like(ratio, math.exp(-3.0)), rtol=1e-4, atol=0)


def test_levels_near_t_1_are_accurate():
    t = torch.tensor([1 - 2**-20], dtype=torch.float32)
    b = math.atan(math.exp(-10))
    angle = (math.pi / 2 - 2 * b) * (1 - 2**-20) + b
    assert CosineSchedule().log_snr(t).item() == pytest.approx(-2 * math.log(math.tan(angle)), rel=1e-6)


def test_diffusion_mixes_signal_and_noise_of_each_sample_at_its_own_level():
    t = torch.tensor([0.0, 0.5, 1.0])
    x0, noise = torch.randn(3, 2, 5), torch.randn(3, 2, 5)
    mixed = CosineSchedule().at(t).diffuse(x0, noise)
    torch.testing.assert_close(mixed[0], x0[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(mixed[1], (x0[1] + noise[1]) / math.sqrt(2))
    torch.testing.assert_close(mixed[2], noise[2], atol=1e-3, rtol=0)


@pytest.mark.parametrize("schedule", [CosineSchedule(), CosineSchedule(shift=3.0), LinearSchedule()])
def test_the_time_of_a_log_snr_is_the_inverse(schedule):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(schedule.time_of(schedule.exact_log_snr(t)), t, atol=1e-9, rtol=0)
    assert schedule.time_of(torch.tensor([1e3, -1e3])).tolist() == pytest.approx([0, 1])
