"""Flow maps: the solution of the probability flow between two times in one step, and targets to learn it.

For a variance-preserving schedule let theta be the angle with alpha = cos(theta) and sigma = sin(theta).
The probability flow is then ``dx / dtheta = v(x, theta)`` with the marginal v, whatever the schedule. The
flow map from theta to an earlier angle phi is written with ``delta = theta - phi`` as

    x_phi = cos(delta) x_theta - sin(delta) F(x_theta, theta, phi).                                     (1)

For ``phi -> theta`` F is v, and with F = v at any phi equation (1) is the step of DDIM: a student that
starts with the weights of its teacher starts as the teacher's DDIM. A network that predicts x0 or epsilon is
converted to F as it is to v. Data is phi = 0 exactly, where the samplers end, not the sigma of the schedule
at t = 0.

Three targets for F at a pair of times:

- `solve` and `flow_target`: the teacher's own solution, by DPM-Solver++(2M).
- `mean_flow_target` (Geng et al. 2025, here on the circle): (1) is constant along a trajectory for fixed phi,
  so ``cos(delta) (v - F) - sin(delta) (x + dF/dtheta) = 0``. The derivative is a central difference.
- `consistency_target` (Song et al. 2023, Kim et al. 2024): one short step of the teacher, then the student.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_n2m.diffusion.prediction import Denoised
from lightning_n2m.diffusion.schedule import NoiseLevel, Schedule
from lightning_n2m.diffusion.steps import times_at
from lightning_n2m.seeding import PerSampleGenerator

# Estimates at x_t ``(b, c, t)`` and times ``(b,)``.
TimedDenoiser = Callable[[Tensor, Tensor], Denoised]
# F of equation (1) at x_t, the times of x_t, and the times to which it leads.
FlowMap = Callable[[Tensor, Tensor, Tensor], Tensor]

GRID_WARP = 0.18  # Largest shift of a point of the time grid; below 1 / pi the grid stays monotone.


def level_at(schedule: Schedule, t: Tensor) -> NoiseLevel:
    """Noise level at times ``(b,)``; at t = 0 the level of clean data."""
    log_snr = schedule.log_snr(t)
    return NoiseLevel(torch.where(t > 0, log_snr, math.inf)[:, None, None])


def velocity(denoised: Denoised, level: NoiseLevel) -> Tensor:
    """``v = alpha epsilon - sigma x_0``, which is F where the two estimates come from a flow map."""
    return level.alpha * denoised.epsilon - level.sigma * denoised.x0


def flow_step(x: Tensor, flow: Tensor, level: NoiseLevel, end: NoiseLevel) -> Tensor:
    """Equation (1): x at the level ``end``."""
    cosine, sine = _rotation(level, end)
    return cosine * x - sine * flow


def flow_target(x: Tensor, x_end: Tensor, level: NoiseLevel, end: NoiseLevel) -> Tensor:
    """F of equation (1) for two points of one trajectory."""
    cosine, sine = _rotation(level, end)
    return (cosine * x - x_end) / sine


def _rotation(level: NoiseLevel, end: NoiseLevel) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angle between two levels, ``(b, 1, 1)``."""
    cosine = level.alpha * end.alpha + level.sigma * end.sigma
    sine = level.sigma * end.alpha - level.alpha * end.sigma
    return cosine, sine


def solve(denoise: TimedDenoiser, x: Tensor, times: Tensor, schedule: Schedule) -> Tensor:
    """All points of the teacher's trajectories by DPM-Solver++(2M) (Lu et al. 2022, algorithm 2).

    The same steps as the sampler ``dpm++2m``, but each sample has times of its own.

    Args:
        denoise: The teacher.
        x: Noise, or noised data, at the first times, ``(b, c, t)``.
        times: Decreasing, ``(n + 1, b)``. A last time of 0 means clean data.
        schedule: Noise schedule.

    Returns:
        ``(n + 1, b, c, t)``, beginning with ``x``.
    """
    states = [x]
    levels = [level_at(schedule, t) for t in times]
    previous_x0: Tensor | None = None
    for i in range(len(times) - 1):
        x0 = denoise(x, times[i]).x0
        now, after = levels[i].log_snr, levels[i + 1].log_snr
        estimate = x0
        if previous_x0 is not None:
            # Extrapolated to the middle of the step in log-SNR; a step to clean data is of first order.
            weight = (after - now) / (2 * (now - levels[i - 1].log_snr))
            weight = torch.where(torch.isinf(after), 0, weight)
            estimate = x0 + weight * (x0 - previous_x0)
        previous_x0 = x0
        decay = torch.exp((now - after) / 2)
        x = levels[i + 1].sigma / levels[i].sigma * x + levels[i + 1].alpha * (1 - decay) * estimate
        states.append(x)
    return torch.stack(states)


def mean_flow_target(
    student: FlowMap,
    teacher: TimedDenoiser,
    x: Tensor,
    t: Tensor,
    end: Tensor,
    schedule: Schedule,
    difference: float,
) -> Tensor:
    """The student's F plus the residual of the MeanFlow identity, which is zero at the optimum.

    Args:
        student: The student, without gradients.
        teacher: The teacher.
        x: x_t, ``(b, c, t)``.
        t: Times of x, ``(b,)``.
        end: Times to which the flow map leads, ``(b,)``.
        schedule: Noise schedule.
        difference: Half of the span of the central difference, in time. It is at most half of ``t - end``,
            and times stay below 1.
    """
    level, end_level = level_at(schedule, t), level_at(schedule, end)
    v = velocity(teacher(x, t), level)
    flow = student(x, t, end)
    half_span = torch.minimum((t - end) / 2, torch.full_like(t, difference))
    neighbours, angles = [], []
    for time in ((t + half_span).clamp(max=1.0), t - half_span):
        neighbour = level_at(schedule, time)
        neighbours.append(student(flow_step(x, v, level, neighbour), time, end))
        angles.append(_angle(neighbour))
    derivative = (neighbours[0] - neighbours[1]) / (angles[0] - angles[1])
    cosine, sine = _rotation(level, end_level)
    return flow + cosine * (v - flow) - sine * (x + derivative)


def consistency_target(
    student: FlowMap,
    teacher: TimedDenoiser,
    x: Tensor,
    t: Tensor,
    end: Tensor,
    schedule: Schedule,
    step: float,
) -> Tensor:
    """F of one short second-order step of the teacher, followed by the student's flow map.

    Args:
        student: The student, without gradients.
        teacher: The teacher.
        x: x_t, ``(b, c, t)``.
        t: Times of x, ``(b,)``.
        end: Times to which the flow map leads, ``(b,)``.
        schedule: Noise schedule.
        step: Length of the teacher's step in time; the whole step where ``t - end`` is not longer.
    """
    level, end_level = level_at(schedule, t), level_at(schedule, end)
    is_short = t - end <= step * (1 + 1e-6)
    between = torch.where(is_short, end, t - step)
    between_level = level_at(schedule, between)
    # Heun's step: the mean of the data estimates at both ends. At clean data there is no second estimate.
    first = teacher(x, t)
    predicted = flow_step(x, velocity(first, level), level, between_level)
    second = teacher(predicted, between.clamp(min=1e-3))
    x0 = torch.where(between[:, None, None] > 0, (first.x0 + second.x0) / 2, first.x0)
    ratio = between_level.sigma / level.sigma
    decay = torch.exp((level.log_snr - between_level.log_snr) / 2)
    middle = ratio * x + between_level.alpha * (1 - decay) * x0
    # Where the step was the whole way, the student must not move the point.
    from_time = torch.where(is_short, t, between)
    flow = student(middle, from_time, end)
    moved = flow_step(middle, flow, between_level, end_level)
    x_end = torch.where(is_short[:, None, None], middle, moved)
    return flow_target(x, x_end, level, end_level)


def _angle(level: NoiseLevel) -> Tensor:
    """theta of a level, ``(b, 1, 1)``."""
    return torch.atan2(level.sigma, level.alpha)


def draw_grid(
    rng: PerSampleGenerator, steps: int, start: float, step_schedule: str = "uniform", reverse: bool = False
) -> Tensor:
    """A time grid from ``start`` to 0 for each sample, ``(steps + 1, b)``.

    The times of a step list at positions ``s + w sin(pi s)``, at equal distances of s, with w drawn
    uniformly: neighbouring steps are nearly equal in position, and over the draws the points cover the axis,
    so that the student learns all times between its steps.

    Args:
        rng: Source of w.
        steps: Number of steps.
        start: First time.
        step_schedule: Step list, by name.
        reverse: As of `times_at`.
    """
    warp = rng.uniform(-GRID_WARP, GRID_WARP)
    line = torch.linspace(1, 0, steps + 1, device=warp.device, dtype=torch.float64)[:, None]
    positions = line + warp.double() * torch.sin(math.pi * line)
    times = times_at(step_schedule, positions, reverse).float() * start
    times[0], times[-1] = start, 0
    return times


def draw_pair(rng: PerSampleGenerator, steps: int, max_steps: int) -> tuple[Tensor, Tensor]:
    """One step of a few-step sampler on a grid of ``steps`` steps: indices of begin and end, ``(b,)``.

    The number of steps of the sampler is log-uniform from 1 to ``max_steps``, and the step one of its steps.
    """
    count = (max_steps ** rng.uniform().double()).round().long()
    number = (rng.uniform().double() * count).long().clamp(max=count - 1)
    begin = torch.round(number * steps / count).long()
    end = torch.round((number + 1) * steps / count).long()
    return begin, end
