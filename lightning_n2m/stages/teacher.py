"""Teacher and settings of a distillation, and which stages can learn from which."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_n2m.diffusion.guidance import finish, guide
from lightning_n2m.diffusion.prediction import Denoised
from lightning_n2m.errors import InputError, check_range
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.stages.bundle_weights import hash_weights
from lightning_n2m.stages.sampling import DiffusionModule

Target = Literal["trajectory", "mean_flow", "consistency"]


@dataclass(frozen=True)
class Distillation:
    """Settings of the distillation of a stage.

    Args:
        target: ``trajectory``: the teacher samples from noise in ``teacher_steps`` steps, and the student
            learns steps between points of these trajectories. ``mean_flow`` and ``consistency``: the student
            learns at noised data from its own output, see `lightning_n2m.diffusion.flow_map`.
        teacher_steps: Steps of the teacher from noise to data.
        pairs: Steps of the student that one clip gives.
        max_steps: Largest number of steps that the student shall sample with.
        guidance: Range of the guidance scale, drawn uniformly for each clip; the student gets it as an input
            (``network.guidance_input``). Null: the one scale of the teacher's own sampling settings.
        difference: Half of the span of the central difference of ``mean_flow``, in time.
    """

    target: Target = "trajectory"
    teacher_steps: int = 16
    pairs: int = 4
    max_steps: int = 16
    guidance: tuple[float, float] | None = None
    difference: float = 0.005

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_range("distillation.teacher_steps", self.teacher_steps, 2, 1000)
        check_range("distillation.pairs", self.pairs, 1, 1000)
        check_range("distillation.max_steps", self.max_steps, 1, self.teacher_steps)
        check_range("distillation.difference", self.difference, 1e-5, 0.1)
        for scale in self.guidance or ():
            check_range("distillation.guidance", scale, 0, 100)

    def teacher_passes(self, is_guided: bool) -> int:
        """Forward passes of the teacher for one clip, both branches of guidance counted."""
        evaluations = {
            "trajectory": self.teacher_steps,
            "mean_flow": self.pairs,
            "consistency": 2 * self.pairs,
        }
        return evaluations[self.target] * (2 if is_guided else 1)

    def student_passes(self) -> int:
        """Forward passes of the student for one clip that have no backward pass."""
        return {"trajectory": 0, "mean_flow": 3 * self.pairs, "consistency": self.pairs}[self.target]


class Teacher:
    """A frozen stage that is no part of the module that learns from it.

    It is neither in checkpoints nor in the moving average, nor does a strategy shard it: every process holds
    all of it.

    Args:
        stage: The trained stage, as `load_stage` returns it.
    """

    def __init__(self, stage: DiffusionModule) -> None:
        self.stage = stage
        self.identifier = hash_weights(stage.network.state_dict())

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        """The same teacher: the copy of a student for its moving average needs no second one."""
        return self

    def to(self, device: torch.device) -> Teacher:
        """Move the network to the student's device."""
        self.stage.to(device)
        return self

    @property
    def is_guided(self) -> bool:
        """Whether its own sampling needs a second branch."""
        return self.stage.text is not None and self.stage.sampling.guidance.scale != 1

    @torch.no_grad()
    def denoise(self, x: Tensor, t: Tensor, conditions: Conditions, scale: Tensor | None) -> Denoised:
        """Estimates with guidance and clipping as in sampling; both branches in one pass.

        Args:
            x: x_t, ``(b, c, t)``.
            t: Times, ``(b,)``.
            conditions: Conditions of the batch.
            scale: Guidance scales, ``(b,)``; null for no guidance.
        """
        stage, guidance = self.stage, self.stage.sampling.guidance
        if scale is None:
            network = functools.partial(stage.network, conditions=conditions)
            x0 = stage.objective.denoise(network, x, t).x0
        else:
            both = conditions.cat(conditions.drop_text().drop_numbers())
            network = functools.partial(stage.network, conditions=both)
            both_x0 = stage.objective.denoise(network, torch.cat([x, x]), torch.cat([t, t])).x0
            x0, unconditional = both_x0.chunk(2)
            acts = (t >= guidance.interval[0]) & (t <= guidance.interval[1])
            scales = torch.where(acts, scale, 1.0)[:, None, None]
            x0 = guide(x0, unconditional, scales, guidance.rescale)
        return finish(x0, x, stage.objective.schedule.at(t), guidance)


def check_student(student: DiffusionModule, settings: Distillation) -> None:
    """Refuse a student whose network lacks an input.

    Raises:
        InputError: naming the option.
    """
    if student.network.step is None:
        raise InputError("model.distillation needs a network with model.network.step_input; set it to true.")
    if (settings.guidance is not None) != (student.network.guidance is not None):
        raise InputError(
            "model.distillation.guidance and model.network.guidance_input belong together; set both or none."
        )
    if student.known_regions is not None:
        raise InputError(
            "model.known_regions is for training on data, and model.distillation draws none; remove one of "
            "them."
        )
    if student.sampling.method != "few":
        raise InputError(
            f"model.sampling.method is {student.sampling.method}, but the stage is distilled; set it to few."
        )


def check_teacher(student: DiffusionModule, teacher: DiffusionModule, settings: Distillation) -> None:
    """Refuse a teacher that the student cannot learn from.

    Raises:
        InputError: naming what differs.
    """
    if type(student) is not type(teacher):
        raise InputError(
            f"The teacher is a {type(teacher).__name__}, but the config builds a {type(student).__name__}; "
            "give the weights of the same stage."
        )
    own, other = student.diffusion_settings(), teacher.diffusion_settings()
    for name, value in own.items():
        if other[name] != value:
            raise InputError(
                f"The teacher was trained with {name} {other[name]}, but the config has {value}; take over "
                "the teacher's."
            )
    if teacher.network.step is not None:
        raise InputError(
            "The teacher is a distilled stage; give the stage that it was distilled from with --teacher."
        )
    if settings.guidance is not None and teacher.text is None:
        raise InputError("model.distillation.guidance is set, but the stage has no text; leave it out.")
    if student.text is not None and teacher.text is not None and student.text.model != teacher.text.model:
        raise InputError(
            f"The teacher's text encoder is {teacher.text.model}, but the config has {student.text.model}; "
            "take over the teacher's."
        )
