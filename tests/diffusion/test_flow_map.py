"""Flow maps on Gaussian data, where they are known in closed form.

For x0 ~ N(MEAN, SPREAD^2) the marginal at a level is N(alpha MEAN, S^2) with
``S^2 = alpha^2 SPREAD^2 + sigma^2``. The probability flow keeps the number of standard deviations from the
mean:
``x_r = alpha_r MEAN + S_r / S_t (x_t - alpha_t MEAN)``.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from lightning_n2m.diffusion.flow_map import (
    consistency_target,
    draw_grid,
    draw_pair,
    flow_step,
    flow_target,
    level_at,
    mean_flow_target,
    solve,
    velocity,
)
from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.prediction import Denoised, prediction_target
from lightning_n2m.diffusion.sampler import sample
from lightning_n2m.diffusion.schedule import CosineSchedule, LinearSchedule, NoiseLevel, Schedule
from lightning_n2m.diffusion.steps import step_times, times_at
from lightning_n2m.seeding import PerSampleGenerator

# One mean and spread a channel: narrow, as the data, and wider than the noise.
MEAN = torch.tensor([0.7, -0.2, 1.5], dtype=torch.float64)[:, None]
SPREAD = torch.tensor([0.3, 1.0, 1.6], dtype=torch.float64)[:, None]
SCHEDULES = {"cosine": CosineSchedule(), "linear": LinearSchedule(), "shifted": CosineSchedule(shift=3.0)}
B = 64


def marginal_spread(level: NoiseLevel) -> Tensor:
    return torch.sqrt(level.alpha.double() ** 2 * SPREAD**2 + level.sigma.double() ** 2)


def exact_end(x: Tensor, level: NoiseLevel, end: NoiseLevel) -> Tensor:
    ratio = marginal_spread(end) / marginal_spread(level)
    return end.alpha.double() * MEAN + ratio * (x - level.alpha.double() * MEAN)


def exact_denoise(schedule: Schedule, x: Tensor, t: Tensor) -> Denoised:
    level = level_at(schedule, t)
    alpha, sigma = level.alpha.double(), level.sigma.double()
    residual = (x - alpha * MEAN) / marginal_spread(level) ** 2
    return Denoised(MEAN + alpha * SPREAD**2 * residual, sigma * residual)


def exact_flow(schedule: Schedule, x: Tensor, t: Tensor, end: Tensor) -> Tensor:
    """F from equation (1), in float64 and independent of `flow_target`: angles instead of products."""
    level, end_level = level_at(schedule, t), level_at(schedule, end)
    angle, end_angle = (torch.atan2(item.sigma.double(), item.alpha.double()) for item in (level, end_level))
    delta = angle - end_angle
    return (torch.cos(delta) * x - exact_end(x, level, end_level)) / torch.sin(delta)


def points(schedule: Schedule, t: Tensor) -> Tensor:
    """Samples of the marginals at times t, ``(b, 3, 5)``."""
    level = level_at(schedule, t)
    z = torch.randn(len(t), 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return level.alpha.double() * MEAN + marginal_spread(level) * z


def random_times(low: float = 0.02) -> tuple[Tensor, Tensor]:
    draws = torch.rand(2, B, generator=torch.Generator().manual_seed(1))
    t, end = draws.max(0).values * (1 - low) + low, draws.min(0).values
    end[::4] = 0  # as in the last step of every sampler
    t[1::4] = 1
    return t, torch.minimum(end, t - low / 2).clamp(min=0)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_target_of_two_points_of_the_flow_is_its_flow_map_and_the_step_its_inverse(
    schedule: Schedule,
) -> None:
    t, end = random_times()
    x, level, end_level = points(schedule, t), level_at(schedule, t), level_at(schedule, end)
    x_end = exact_end(x, level, end_level)
    flow = flow_target(x, x_end, level, end_level)
    torch.testing.assert_close(flow, exact_flow(schedule, x, t, end), rtol=2e-4, atol=2e-4)
    torch.testing.assert_close(flow_step(x, flow, level, end_level), x_end, rtol=1e-6, atol=1e-6)


def test_a_flow_map_ends_at_clean_data_not_at_the_first_noise_level_of_the_schedule() -> None:
    level = level_at(CosineSchedule(), torch.tensor([0.0, 1e-6, 1.0]))
    assert level.sigma[0] == 0 and level.alpha[0] == 1 and (level.sigma[1:] > 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_flow_map_of_a_vanishing_step_is_the_velocity_of_the_teacher(schedule: Schedule) -> None:
    t = torch.linspace(0.05, 0.95, B)
    x, level = points(schedule, t), level_at(schedule, t)
    v = velocity(exact_denoise(schedule, x, t), level)
    errors = [(exact_flow(schedule, x, t, t - step) - v).abs().max().item() for step in (4e-3, 2e-3)]
    assert errors[1] < 0.05 and errors[1] == pytest.approx(errors[0] / 2, rel=0.15)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_trajectories_of_the_teacher_converge_to_the_flow_with_second_order(schedule: Schedule) -> None:
    """All grid points, from the start and from a late start; each sample has its own grid."""
    for start in (1.0, 0.4):
        errors = []
        for steps in (24, 48, 96):
            times = draw_grid(PerSampleGenerator("grid", range(B)), steps, start)
            x = points(schedule, times[0])
            states = solve(lambda x, t: exact_denoise(schedule, x, t), x, times, schedule)
            first = level_at(schedule, times[0])
            exact = torch.stack([exact_end(x, first, level_at(schedule, t)) for t in times])
            # Without the first point, and without the last one, to which the solver steps with first order.
            errors.append((states - exact)[1:-1].square().mean().sqrt().item())
        # The first step is of first order, so the observed order is a little below two.
        assert errors[2] < 0.02
        assert errors[2] < errors[1] / 2.6 < errors[0] / 2.6**2, errors


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_at_the_optimum_every_target_is_the_student_itself(schedule: Schedule) -> None:
    """So the loss of each method is zero there, up to the error of a difference or of a teacher's step."""
    t, end = random_times(low=0.1)
    t = t.clamp(max=0.98)
    x, exact = points(schedule, t), exact_flow(schedule, points(schedule, t), t, end)

    def student(x: Tensor, t: Tensor, end: Tensor) -> Tensor:
        return exact_flow(schedule, x, t, end)

    def teacher(x: Tensor, t: Tensor) -> Denoised:
        return exact_denoise(schedule, x, t)

    # A central difference has an error of second order; the step of the teacher one of third order.
    for method, sizes, tolerance, factor in (
        (mean_flow_target, (0.02, 0.01), 0.03, 2.5),
        (consistency_target, (0.04, 0.02), 0.002, 6.0),
    ):
        errors = [
            (method(student, teacher, x, t, end, schedule, size) - exact).square().mean().sqrt().item()
            for size in sizes
        ]
        assert errors[1] < tolerance and errors[1] < errors[0] / factor, (method, errors)


def test_away_from_the_optimum_the_targets_lead_back_to_it() -> None:
    """A wrong student gets a target nearer to the exact flow map, at steps where its own error is small."""
    schedule = CosineSchedule()
    t, end = torch.full((B,), 0.5), torch.full((B,), 0.45)
    x = points(schedule, t)
    exact = exact_flow(schedule, x, t, end)

    def student(x: Tensor, t: Tensor, end: Tensor) -> Tensor:
        return exact_flow(schedule, x, t, end) + 0.3

    def teacher(x: Tensor, t: Tensor) -> Denoised:
        return exact_denoise(schedule, x, t)

    for method, size in ((mean_flow_target, 0.01), (consistency_target, 0.04)):
        error = (method(student, teacher, x, t, end, schedule, size) - exact).abs().mean()
        assert error < 0.1, method


@pytest.mark.parametrize("prediction", ["v", "epsilon", "x0"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_few_steps_of_the_exact_student_are_exact_for_every_number_of_steps(
    schedule: Schedule, prediction: str
) -> None:
    """One step, many steps, and a late start; whatever the network predicts."""
    objective = Objective(schedule, prediction)
    for steps, start in itertools.product((1, 2, 3, 8, 16), (1.0, 0.3)):
        noise = points(schedule, torch.full((B,), start))

        def denoise(x: Tensor, time: float, end: float) -> Denoised:
            t, ends = torch.full((B,), time), torch.full((B,), end)
            level = level_at(schedule, t)
            alpha, sigma = level.alpha.double(), level.sigma.double()
            flow = exact_flow(schedule, x, t, ends)
            pair = alpha * x - sigma * flow, sigma * x + alpha * flow
            output = prediction_target(prediction, *pair, level)
            return objective.denoise(lambda *_: output, x, t)

        times = step_times("uniform", steps) * start
        rng = PerSampleGenerator(0, range(B))
        data = sample(denoise, noise, schedule, times, rng, "few")
        first, clean = (level_at(schedule, torch.full((B,), time)) for time in (start, 0.0))
        expected = exact_end(noise, first, clean)
        # Dividing by alpha loses digits near noise when epsilon is predicted.
        tolerance = 0.05 if prediction == "epsilon" and start == 1 else 2e-3
        torch.testing.assert_close(data.double(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("gamma", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_noise_between_few_steps_keeps_the_distribution_of_the_exact_student(
    schedule: Schedule, gamma: float
) -> None:
    """Mean, spread, and what is left of the starting noise: each return scales it by a known factor."""
    times, samples = step_times("uniform", 4), 20_000
    z = PerSampleGenerator(1, [0]).normal(3, samples).double()
    start = level_at(schedule, torch.tensor([1.0]))
    noise = start.alpha * MEAN + marginal_spread(start) * z

    def denoise(x: Tensor, time: float, end: float) -> Denoised:
        t = torch.tensor([time])
        level = level_at(schedule, t)
        alpha, sigma = level.alpha.double(), level.sigma.double()
        flow = exact_flow(schedule, x, t, torch.tensor([end], dtype=torch.float64))
        return Denoised(alpha * x - sigma * flow, sigma * x + alpha * flow)

    data = sample(denoise, noise, schedule, times, PerSampleGenerator(0, [0]), "few", gamma)
    kept = torch.ones(3, 1, dtype=torch.float64)
    for time in times[1:-1]:
        # Standard deviations relative to alpha: at the end of the step, and where the flow map led.
        ratio = (-schedule.exact_log_snr(time)).exp()
        kept *= torch.sqrt((SPREAD**2 + (1 - gamma**2) * ratio) / (SPREAD**2 + ratio))
    deviations = ((data - MEAN) / SPREAD)[0]
    assert deviations.mean(dim=1).abs().max() < 0.03
    torch.testing.assert_close(deviations.std(dim=1), torch.ones(3, dtype=torch.float64), atol=0.02, rtol=0)
    torch.testing.assert_close((deviations * z[0]).mean(dim=1), kept[:, 0], atol=0.03, rtol=0)


def test_a_student_that_ignores_its_step_samples_like_ddim() -> None:
    schedule = CosineSchedule()
    noise = points(schedule, torch.ones(B)).float()
    times, rng = step_times("uniform", 5), PerSampleGenerator(0, range(B))

    def denoise(x: Tensor, time: float, end: float = 0.0) -> Denoised:
        estimate = exact_denoise(schedule, x, torch.full((B,), time))
        return Denoised(estimate.x0.float(), estimate.epsilon.float())

    few, ddim = (sample(denoise, noise, schedule, times, rng, method) for method in ("few", "ddim"))
    assert torch.equal(few, ddim)


def test_the_pairs_are_steps_of_few_step_samplers() -> None:
    """Shares by counting: the number of steps is log-uniform, and every step of it is as likely."""
    begin, end = draw_pair(PerSampleGenerator("pairs", range(6000)), 16, 16)
    assert begin.min() == 0 and end.max() == 16 and (end > begin).all()
    whole = ((begin == 0) & (end == 16)).double().mean().item()
    assert whole == pytest.approx(math.log(1.5) / math.log(16), abs=0.02)
    first_half, second_half = (((begin == i) & (end == i + 8)).double().mean().item() for i in (0, 8))
    both = math.log(2.5 / 1.5) / math.log(16)
    assert first_half == pytest.approx(both / 2, abs=0.02) == pytest.approx(second_half, abs=0.03)
    begin, end = draw_pair(PerSampleGenerator("pairs", range(500)), 16, 4)
    assert (end - begin).min() == 4  # no shorter step than that of four steps


def test_a_grid_is_decreasing_covers_the_axis_and_belongs_to_the_sample() -> None:
    times = draw_grid(PerSampleGenerator("grid", range(400)), 16, 0.5)
    assert (times[0] == 0.5).all() and (times[-1] == 0).all()
    steps = times[:-1] - times[1:]
    assert steps.min() > 0.3 * 0.5 / 16 and steps.max() < 2 * 0.5 / 16
    inner = times[1:-1].flatten().sort().values
    assert (inner[1:] - inner[:-1]).max() < 0.01 and inner[0] < 0.03
    assert torch.equal(times[:, 7:8], draw_grid(PerSampleGenerator("grid", [7]), 16, 0.5))

    # A step list has its own times where the grid is uniform at the same positions.
    listed = draw_grid(PerSampleGenerator("grid", range(400)), 16, 0.5, "super_resolution")
    expected = 0.5 * times_at("super_resolution", times / 0.5).float()
    torch.testing.assert_close(listed, expected, atol=1e-6, rtol=0)
    assert (listed[:-1] > listed[1:]).all()
