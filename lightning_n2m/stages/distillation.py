"""Distillation of a trained stage into a network that needs few steps, without a second pass for guidance.

The student has the network of its teacher and one more input, the length of the step
(`UNet1d.step_input`). It learns the flow map of the teacher's guided probability flow, see
`lightning_n2m.diffusion.flow_map`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from dataclasses import dataclass

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
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.sampling import DiffusionModule
from lightning_n2m.stages.teacher import Distillation, Teacher

VALIDATION_STEPS = (1, 2, 4, 8)  # Numbers of steps of the student that validation samples with.


@dataclass(frozen=True)
class FlowSteps:
    """Steps of a batch that the student learns, ``pairs`` of each clip one behind the other.

    Args:
        x: Points at which the steps begin, ``(pairs * b, c, t)``.
        begin: Their times, ``(pairs * b,)``.
        end: Times at which the steps end, ``(pairs * b,)``.
        target: F of the flow map, as ``x``.
    """

    x: Tensor
    begin: Tensor
    end: Tensor
    target: Tensor


def flow_steps(
    student: DiffusionModule,
    teacher: Teacher,
    settings: Distillation,
    x0: Tensor,
    conditions: Conditions,
    scale: Tensor | None,
    rng: PerSampleGenerator,
) -> FlowSteps:
    """Draw steps for a batch and compute their targets, without gradients.

    Args:
        student: The student.
        teacher: The teacher.
        settings: What to draw.
        x0: Clean data, ``(b, c, t)``; only its shape matters for ``trajectory``.
        conditions: Conditions of the batch.
        scale: Guidance scales, ``(b,)``; null for no guidance.
        rng: Source of the draws.
    """
    schedule, sampling = student.objective.schedule, student.sampling
    start_time = sampling.start_time
    grid = draw_grid(
        rng, settings.teacher_steps, start_time, sampling.step_schedule, sampling.reverse_schedule
    )
    noise = rng.normal(*x0.shape[1:])
    pairs = [draw_pair(rng, settings.teacher_steps, settings.max_steps) for _ in range(settings.pairs)]
    begin_index, end_index = (torch.stack(index) for index in zip(*pairs, strict=True))
    begin, end = grid.gather(0, begin_index), grid.gather(0, end_index)

    if settings.target == "trajectory":
        denoise = functools.partial(teacher.denoise, conditions=conditions, scale=scale)
        with torch.no_grad():
            start = student.starting_point(noise, conditions)
            states = solve(denoise, start, grid, schedule)
        rows = torch.arange(len(x0), device=x0.device)
        x, x_end = states[begin_index, rows].flatten(0, 1), states[end_index, rows].flatten(0, 1)
        begin, end = begin.flatten(), end.flatten()
        target = flow_target(x, x_end, level_at(schedule, begin), level_at(schedule, end))
        return FlowSteps(x, begin, end, target)

    # Noised data at the beginning of each step. A late start begins at the noised draft and ends at data.
    begin, end, copies = begin.flatten(), end.flatten(), settings.pairs
    data, noise = x0.repeat(copies, 1, 1), noise.repeat(copies, 1, 1)
    repeated = conditions.repeat(copies)
    if start_time < 1 and repeated.stacked is not None:
        data = torch.lerp(data, repeated.stacked, (begin / start_time)[:, None, None])
    x = level_at(schedule, begin).diffuse(data, noise)
    scales = None if scale is None else scale.repeat(copies)

    def student_flow(x: Tensor, t: Tensor, end: Tensor) -> Tensor:
        return flow_of(student, x, t, end, repeated, scales)

    denoise = functools.partial(teacher.denoise, conditions=repeated, scale=scales)
    with torch.no_grad():
        if settings.target == "mean_flow":
            target = mean_flow_target(student_flow, denoise, x, begin, end, schedule, settings.difference)
        else:
            step = start_time / settings.teacher_steps
            target = consistency_target(student_flow, denoise, x, begin, end, schedule, step)
    return FlowSteps(x, begin, end, target)


def flow_of(
    student: DiffusionModule,
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    conditions: Conditions,
    scale: Tensor | None,
) -> Tensor:
    """F that the student's network computes for steps from ``begin`` to ``end``, ``(b, c, t)``."""
    conditions = conditions.with_step(begin - end, scale if student.network.guidance is not None else None)
    network = functools.partial(student.network, conditions=conditions)
    estimate = student.objective.denoise(network, x, begin)
    return velocity(estimate, level_at(student.objective.schedule, begin))


def distillation_loss(
    student: DiffusionModule,
    teacher: Teacher,
    settings: Distillation,
    x0: Tensor,
    conditions: Conditions,
    rng: PerSampleGenerator,
) -> tuple[Tensor, Tensor]:
    """Squared errors of the student's F.

    Args:
        student: The student.
        teacher: The teacher.
        settings: Settings of the distillation.
        x0: Clean data, ``(b, c, t)``.
        conditions: Conditions of the batch.
        rng: Source of all draws.

    Returns:
        Losses ``(pairs, b)``, and the times at which the steps begin, likewise.
    """
    scale = guidance_scales(teacher, settings, rng)
    steps = flow_steps(student, teacher, settings, x0, conditions, scale, rng)
    repeated = conditions.repeat(settings.pairs)
    scales = None if scale is None else scale.repeat(settings.pairs)
    flow = flow_of(student, steps.x, steps.begin, steps.end, repeated, scales)
    error = (flow.float() - steps.target).square().flatten(1).mean(1)
    return error.unflatten(0, (settings.pairs, -1)), steps.begin.unflatten(0, (settings.pairs, -1))


def guidance_scales(teacher: Teacher, settings: Distillation, rng: PerSampleGenerator) -> Tensor | None:
    """Guidance scale of each clip, ``(b,)``; null where the teacher samples without guidance."""
    if settings.guidance is not None:
        return rng.uniform(*settings.guidance)
    if not teacher.is_guided:
        return None
    return torch.full((len(rng),), teacher.stage.sampling.guidance.scale, device=rng.device)


@torch.no_grad()
def sampling_errors(
    student: DiffusionModule,
    teacher: Teacher,
    settings: Distillation,
    shape: torch.Size,
    conditions: Conditions,
    rng: PerSampleGenerator,
) -> dict[int, Tensor]:
    """Mean squared differences between samples of student and teacher from the same noise.

    Args:
        student: The student.
        teacher: The teacher, which samples in ``teacher_steps`` steps of the student's step list.
        settings: Settings of the distillation.
        shape: Shape of one output, ``(c, t)``.
        conditions: Conditions of the batch.
        rng: Source of the noise.

    Returns:
        ``(b,)`` by the number of steps of the student.
    """
    schedule, sampling = student.objective.schedule, student.sampling
    if settings.guidance is None:
        scale = guidance_scales(teacher, settings, rng)
    else:
        scale = torch.full((len(rng),), sum(settings.guidance) / 2, device=rng.device)
    start = student.starting_point(rng.normal(*shape), conditions)

    def times(steps: int) -> Tensor:
        times = dataclasses.replace(sampling, method="few", num_steps=steps).times() * sampling.start_time
        return times.float().to(start.device)[:, None].expand(-1, len(start))

    denoise = functools.partial(teacher.denoise, conditions=conditions, scale=scale)
    reference = solve(denoise, start, times(settings.teacher_steps), schedule)[-1]
    errors = {}
    for steps in VALIDATION_STEPS:
        if steps > settings.max_steps:
            continue
        x, grid = start, times(steps)
        for begin, end in itertools.pairwise(grid):
            flow = flow_of(student, x, begin, end, conditions, scale)
            x = flow_step(x, flow, level_at(schedule, begin), level_at(schedule, end))
        errors[steps] = (x - reference).square().flatten(1).mean(1)
    return errors
