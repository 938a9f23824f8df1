"""Distillation of a stage: start, targets, loss at the optimum, and sampling.

The closed forms of the flow map are in tests/diffusion/test_flow_map.py.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_n2m.conditioning.known_regions import KnownRegions
from lightning_n2m.diffusion.flow_map import flow_target, level_at, solve
from lightning_n2m.diffusion.guidance import Guidance
from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.schedule import CosineSchedule
from lightning_n2m.errors import InputError
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.number_embedding import NUMBERS
from lightning_n2m.networks.unet import UNet1d
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.distillation import distillation_loss, flow_steps, sampling_errors
from lightning_n2m.stages.sampling import DiffusionModule
from lightning_n2m.stages.settings import Sampling
from lightning_n2m.stages.teacher import Distillation, Teacher, check_student, check_teacher
from tests.stages.common import refiner

MEAN, SPREAD = 0.4, 0.6
OPEN = Guidance(scale=3.0, limit=1e3)
FOLDED = Guidance(limit=1e3)


def unet(**more: Any) -> UNet1d:
    torch.manual_seed(0)
    network = UNet1d(
        1, 16, [1, 2], [2, 2], [1, 1], [False] * 2, [False, True], 3, heads=2, text_channels=6, **more
    )
    for parameter in network.parameters():  # the output and the modulation start at zero
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    return network


class TextOfSixChannels:
    """Stands for a text encoder where conditions are given directly."""

    model = "none"


def stage(guidance: Guidance, method: str, **network: Any) -> DiffusionModule:
    sampling = Sampling(num_steps=4, method=method, guidance=guidance)
    text: Any = TextOfSixChannels()
    return DiffusionModule(unet(**network), Objective(CosineSchedule()), 100, 0.4, text, sampling=sampling)


def student_of(teacher: DiffusionModule, **network: bool) -> DiffusionModule:
    student = stage(FOLDED, "few", step_input=True, **network)
    student.network.load_state_dict(fresh(student).with_new_inputs(teacher.network.state_dict()))
    return student


def fresh(student: DiffusionModule) -> UNet1d:
    """The student's network as it is built, with the new inputs at zero."""
    flags = {"step_input": True, "guidance_input": student.network.guidance is not None}
    return UNet1d(1, 16, [1, 2], [2, 2], [1, 1], [False] * 2, [False, True], 3, 2, 6, **flags)


def text(batch: int) -> Conditions:
    draws = torch.randn(batch, 3, 6, generator=torch.Generator().manual_seed(4))
    return Conditions().with_text(draws, torch.ones(batch, 3, dtype=torch.bool))


def gaussian(network: UNet1d, student: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a network the optimum for Gaussian data: the velocity, or the flow map if it gets a step."""
    schedule = CosineSchedule()

    def spread(level: Any) -> Tensor:
        return torch.sqrt(level.alpha**2 * SPREAD**2 + level.sigma**2)

    def forward(x: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        level = level_at(schedule, t)
        residual = (x - level.alpha * MEAN) / spread(level) ** 2
        if not student:
            return level.alpha * level.sigma * (1 - SPREAD**2) * residual - level.sigma * MEAN
        assert conditions.step is not None
        end = level_at(schedule, (t - conditions.step).clamp(min=0).where(t - conditions.step > 1e-6, 0))
        x_end = end.alpha * MEAN + spread(end) / spread(level) * (x - level.alpha * MEAN)
        return flow_target(x, x_end, level, end)

    monkeypatch.setattr(network, "forward", forward)


@pytest.mark.parametrize("guidance_input", [False, True])
def test_a_student_starts_as_its_teacher_bit_for_bit(guidance_input: bool) -> None:
    teacher = stage(OPEN, "ddim")
    student = student_of(teacher, guidance_input=guidance_input)
    x, t, conditions = torch.randn(3, 1, 40), torch.rand(3), text(3)
    expected = teacher.network(x, t, conditions)
    assert expected.abs().mean() > 0.01
    scale = torch.tensor([1.0, 3.0, 7.0]) if guidance_input else None
    for step in (torch.zeros(3), torch.rand(3)):
        assert torch.equal(student.network(x, t, conditions.with_step(step, scale)), expected)


def test_the_new_inputs_change_the_output_once_they_are_trained() -> None:
    student = student_of(stage(OPEN, "ddim"), guidance_input=True)
    x, t, conditions = torch.randn(2, 1, 40), torch.rand(2), text(2)
    scale = torch.tensor([1.0, 3.0])
    student.network(x, t, conditions.with_step(t / 2, scale)).square().sum().backward()
    for embedding in (student.network.step, student.network.guidance):
        assert embedding is not None and embedding.linear.weight.grad.abs().max() > 0
        torch.nn.init.normal_(embedding.linear.weight)
    outputs = [
        student.network(x, t, conditions.with_step(step, scales))
        for step, scales in ((t / 2, scale), (t / 4, scale), (t / 2, scale + 1))
    ]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3 < (outputs[0] - outputs[2]).abs().max()


@pytest.mark.parametrize("target", ["trajectory", "mean_flow", "consistency"])
def test_the_loss_is_zero_for_the_exact_flow_map_of_gaussian_data(
    target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, student = stage(FOLDED, "dpm++2m"), stage(FOLDED, "few", step_input=True)
    gaussian(teacher.network, False, monkeypatch)
    gaussian(student.network, True, monkeypatch)
    settings = Distillation(target=target, teacher_steps=64, pairs=6, max_steps=16)
    x0 = MEAN + SPREAD * torch.randn(16, 1, 40, generator=torch.Generator().manual_seed(3))
    rng = PerSampleGenerator("loss", range(16))
    with torch.no_grad():
        losses, times = distillation_loss(student, Teacher(teacher), settings, x0, Conditions(), rng)
    assert losses.shape == times.shape == (6, 16)
    assert losses.mean() < 1e-4
    # A student without the length of the step has a loss that is a hundred times as large.
    gaussian(student.network, False, monkeypatch)
    rng = PerSampleGenerator("loss", range(16))
    with torch.no_grad():
        wrong, _ = distillation_loss(student, Teacher(teacher), settings, x0, Conditions(), rng)
    assert wrong.mean() > 100 * losses.mean()


def test_the_samples_of_the_exact_student_are_those_of_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = stage(FOLDED, "dpm++2m"), stage(FOLDED, "few", step_input=True)
    gaussian(teacher.network, False, monkeypatch)
    gaussian(student.network, True, monkeypatch)
    settings = Distillation(teacher_steps=128)
    rng = PerSampleGenerator("validation", range(4))
    errors = sampling_errors(student, Teacher(teacher), settings, torch.Size([1, 40]), Conditions(), rng)
    assert set(errors) == {1, 2, 4, 8} and max(error.max() for error in errors.values()) < 1e-4
    gaussian(student.network, False, monkeypatch)
    rng = PerSampleGenerator("validation", range(4))
    errors = sampling_errors(student, Teacher(teacher), settings, torch.Size([1, 40]), Conditions(), rng)
    # DDIM with the teacher's velocity: the error falls with the number of steps.
    assert errors[1].mean() > errors[2].mean() > errors[4].mean() > errors[8].mean() > 1e-4


def test_the_targets_fold_the_guidance_of_the_teacher_in() -> None:
    """Against the definition: two separate passes, w times one plus (1 - w) times the other."""
    teacher = Teacher(stage(OPEN, "ddim").eval().requires_grad_(False))
    x, t, conditions = torch.randn(3, 1, 40), torch.tensor([0.2, 0.6, 0.9]), text(3)
    scale = torch.tensor([1.0, 3.0, 6.0])
    found = teacher.denoise(x, t, conditions, scale)
    level = CosineSchedule().at(t)
    v_text = teacher.stage.network(x, t, conditions)
    v_null = teacher.stage.network(x, t, conditions.drop_text())
    w = scale[:, None, None]
    x0 = level.alpha * x - level.sigma * (w * v_text + (1 - w) * v_null)
    torch.testing.assert_close(found.x0, x0, atol=1e-4, rtol=1e-4)
    assert (v_text - v_null).abs().max() > 1e-3


def test_the_unconditional_branch_of_the_teacher_has_neither_text_nor_numbers() -> None:
    teacher = stage(OPEN, "ddim", numbers=NUMBERS)
    x, t, plain = torch.randn(2, 1, 40), torch.rand(2), text(2)
    numbers = {
        "tempo": torch.tensor([90.0, 150.0]),
        "tonic": torch.tensor([2, 7]),
        "mode": torch.tensor([0, 1]),
    }
    conditions = dataclasses.replace(plain, **numbers, beat_phase=torch.randn(2, 2, 40))

    def alone(inputs: Conditions) -> Tensor:
        return teacher.objective.denoise(functools.partial(teacher.network, conditions=inputs), x, t).x0

    unconditional = alone(plain.drop_text())
    expected = unconditional + 3 * (alone(conditions) - unconditional)
    guided = Teacher(teacher).denoise(x, t, conditions, torch.full((2,), 3.0)).x0
    assert guided.allclose(expected, atol=1e-5)
    assert not guided.allclose(Teacher(teacher).denoise(x, t, plain, torch.full((2,), 3.0)).x0, atol=1e-2)


def test_a_step_of_a_batch_is_a_step_of_the_teachers_trajectory() -> None:
    teacher_stage = stage(OPEN, "ddim").eval().requires_grad_(False)
    teacher, student = Teacher(teacher_stage), student_of(teacher_stage)
    settings, conditions = Distillation(teacher_steps=64, pairs=3, max_steps=4), text(2)
    scale, x0 = torch.tensor([3.0, 3.0]), torch.zeros(2, 1, 40)
    rng = PerSampleGenerator("steps", [5, 9])
    steps = flow_steps(student, teacher, settings, x0, conditions, scale, rng)
    assert steps.x.shape == (6, 1, 40) and (steps.begin > steps.end).all()
    # Continue from one point of the trajectory of clip 9 with small steps: it ends near the target's end.
    i = 1 + 2 * int((steps.begin - steps.end)[1::2].argmin())
    level, end = level_at(CosineSchedule(), steps.begin), level_at(CosineSchedule(), steps.end)
    cosine = (level.alpha * end.alpha + level.sigma * end.sigma)[i]
    sine = (level.sigma * end.alpha - level.alpha * end.sigma)[i]
    x_end = cosine * steps.x[i] - sine * steps.target[i]
    line = torch.linspace(0, 1, 65)[:, None] * (steps.end[i] - steps.begin[i]) + steps.begin[i]
    one = text(2).slice(0, 40, 4)
    one = Conditions(text=one.text[1:], text_mask=one.text_mask[1:])
    fine = solve(
        lambda x, t: teacher.denoise(x, t, one, scale[:1]), steps.x[i : i + 1], line, CosineSchedule()
    )[-1]
    assert (x_end - fine[0]).abs().mean() < 0.1 * (x_end - steps.x[i]).abs().mean()


def test_the_trajectories_of_a_late_start_begin_where_sampling_does() -> None:
    """At the noised draft and the start time (SDEdit), not at noised data."""
    teacher_stage = refiner(Sampling(num_steps=4, start_time=0.3, method="dpm++2m", guidance=FOLDED))
    student = refiner(Sampling(num_steps=4, start_time=0.3, method="few", guidance=FOLDED))
    draft, x0 = 0.5 * torch.randn(3, 1, 48), torch.zeros(3, 1, 48)
    conditions, settings = Conditions(stacked=draft), Distillation(teacher_steps=4, pairs=20, max_steps=4)
    rng = PerSampleGenerator("late", range(3))
    steps = flow_steps(student, Teacher(teacher_stage), settings, x0, conditions, None, rng)
    assert steps.begin.max() == torch.tensor(0.3) and steps.end.min() == 0
    rng = PerSampleGenerator("late", range(3))
    rng.uniform()  # the grid
    start = CosineSchedule(shift=1.0).at(torch.full((3,), 0.3)).diffuse(draft, rng.normal(1, 48))
    clips = torch.arange(3).repeat(20)
    first = steps.begin == steps.begin.max()
    assert first.sum() > 3 and torch.equal(steps.x[first], start[clips[first]])


@pytest.mark.parametrize("target", ["trajectory", "mean_flow", "consistency"])
def test_the_losses_of_a_clip_do_not_depend_on_the_rest_of_the_batch(target: Any) -> None:
    """So several processes draw and compute what one does."""
    teacher_stage = stage(OPEN, "ddim").eval().requires_grad_(False)
    teacher, student = Teacher(teacher_stage), student_of(teacher_stage, guidance_input=True)
    settings = Distillation(target=target, teacher_steps=4, pairs=3, max_steps=4, guidance=(1.0, 5.0))
    x0, conditions = torch.randn(4, 1, 40), text(4)

    def losses(rows: list[int]) -> Tensor:
        chosen = Conditions(text=conditions.text[rows], text_mask=conditions.text_mask[rows])
        rng = PerSampleGenerator("7 train", [10 + row for row in rows])
        with torch.no_grad():
            return distillation_loss(student, teacher, settings, x0[rows], chosen, rng)[0]

    torch.testing.assert_close(losses([0, 1, 2, 3])[:, 2:], losses([2, 3]), atol=1e-5, rtol=1e-4)


def test_the_teacher_is_neither_a_part_of_the_student_nor_copied_with_it() -> None:
    teacher_stage = stage(OPEN, "ddim")
    student, teacher = student_of(teacher_stage), Teacher(teacher_stage)
    names = set(student.state_dict())
    student.teacher = teacher  # type: ignore[assignment]
    assert set(student.state_dict()) == names
    assert copy.deepcopy(student).teacher is teacher
    other = stage(OPEN, "ddim")
    assert Teacher(other).identifier == teacher.identifier
    next(other.network.parameters()).data[0] += 1e-6
    assert Teacher(other).identifier != teacher.identifier


def test_sampling_with_few_steps_needs_one_pass_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    student = stage(Guidance(scale=2.5, limit=1e3), "few", step_input=True, guidance_input=True)
    calls: list[Conditions] = []
    monkeypatch.setattr(DiffusionModule, "with_text", lambda self, conditions, captions: text(len(captions)))

    def forward(x: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        calls.append(conditions)
        return torch.zeros_like(x)

    monkeypatch.setattr(student.network, "forward", forward)
    student.generate(["a", "b"], 0.4, PerSampleGenerator(0, [0, 1]))
    assert [len(call.step) for call in calls] == [2] * 4
    assert [float(call.step[0]) for call in calls] == pytest.approx([0.25] * 4)
    assert all(torch.equal(call.guidance, torch.full((2,), 2.5)) for call in calls)


def test_what_cannot_be_distilled_or_sampled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DiffusionModule, "with_text", lambda self, conditions, captions: text(len(captions)))
    teacher, student = stage(OPEN, "ddim"), stage(FOLDED, "few", step_input=True)
    rng = PerSampleGenerator(0, [0])
    with pytest.raises(InputError, match="method few needs a distilled DiffusionModule"):
        stage(FOLDED, "few").generate(["a"], 0.4, rng)
    with pytest.raises(InputError, match="distilled for one scale"):
        stage(OPEN, "few", step_input=True).generate(["a"], 0.4, rng)
    with pytest.raises(InputError, match="A negative prompt needs two branches"):
        student.generate(["a"], 0.4, rng, negative="drums")
    with pytest.raises(InputError, match="step_input"):
        check_student(stage(FOLDED, "few"), Distillation())
    with pytest.raises(InputError, match="belong together"):
        check_student(student, Distillation(guidance=(1.0, 3.0)))
    editor = stage(FOLDED, "few", step_input=True)
    editor.known_regions = KnownRegions()
    with pytest.raises(InputError, match="known_regions is for training on data"):
        check_student(editor, Distillation())
    with pytest.raises(InputError, match="set it to few"):
        check_student(stage(FOLDED, "ddim", step_input=True), Distillation())
    with pytest.raises(InputError, match="is a distilled stage"):
        check_teacher(student, student, Distillation())
    other = stage(OPEN, "ddim")
    other.objective = Objective(CosineSchedule(shift=1.0))
    with pytest.raises(InputError, match="trained with schedule"):
        check_teacher(student, other, Distillation())
    check_teacher(student, teacher, Distillation())
