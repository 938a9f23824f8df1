"""Settings that the stages share: optimisation and sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lightning_n2m.diffusion.guidance import Guidance
from lightning_n2m.diffusion.sampler import Method
from lightning_n2m.diffusion.steps import step_times, times_at
from lightning_n2m.errors import InputError, check_range
from lightning_n2m.stages.muon import MuonWithAdam, split_parameters


@dataclass(frozen=True)
class Optimisation:
    """Optimiser and learning rate, counted in optimiser steps; by default as in section 4.1.

    Args:
        learning_rate: Peak rate.
        betas: Adam's decay rates.
        warmup_steps: Steps of linear rise.
        total_steps: Step at which the rate reaches zero. Not taken from the trainer: the paper sets
            2.5M steps and stops long before. A training beyond it is refused; one without a number of
            steps (``trainer.max_steps`` -1) ends there.
        decay_steps: Length of the decay at the end: the rate is constant until ``total_steps - decay_steps``
            and then falls as ``1 - sqrt`` (Hägele et al. 2024). Any checkpoint of the constant part can be
            decayed, so that the length of a training need not be known in advance; 0 never decays. The
            cosine over all steps, as in the paper, when null.
        optimizer: ``adam``, or ``muon`` for matrices and convolution kernels with Adam for the rest.
            Deviation: the paper trains with Adam.
        momentum: Momentum of Muon.
    """

    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = 10_000
    total_steps: int = 2_500_000
    decay_steps: int | None = None
    optimizer: Literal["adam", "muon"] = "adam"
    momentum: float = 0.95

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_range("optimisation.learning_rate", self.learning_rate, 0, 10)
        check_range("optimisation.warmup_steps", self.warmup_steps, 0, 10**9)
        check_range("optimisation.total_steps", self.total_steps, 1, 10**12)
        check_range("optimisation.momentum", self.momentum, 0, 1)
        for beta in self.betas:
            check_range("optimisation.betas", beta, 0, 1)
        if self.decay_steps is not None and not 0 <= self.decay_steps <= self.total_steps:
            raise InputError(
                f"optimisation.decay_steps is {self.decay_steps}, but optimisation.total_steps is "
                f"{self.total_steps}; give a number from 0 to total_steps."
            )

    def factor(self, step: int) -> float:
        """Share of the peak rate at an optimiser step."""
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.decay_steps is None:
            return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.total_steps)))
        decayed = max(0, step - (self.total_steps - self.decay_steps))
        return rise * (1 - math.sqrt(min(1.0, decayed / max(1, self.decay_steps))))

    def build(self, network: nn.Module) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Optimiser and schedule; the schedule advances after every optimiser step.

        Raises:
            InputError: if the installed PyTorch lacks the optimiser.
        """
        if self.optimizer == "muon":
            if not hasattr(torch.optim, "Muon"):
                raise InputError(
                    f"model.optimisation.optimizer muon needs PyTorch 2.9, not {torch.__version__}; update."
                )
            muon = MuonWithAdam(*split_parameters(network), self.learning_rate, self.betas, self.momentum)
            return muon, LambdaLR(muon, self.factor)
        # The fused kernel makes one pass over each weight and its moments instead of a dozen.
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.learning_rate, betas=self.betas, fused=True)
        # The scaler unscales gradients, not the optimiser: Lightning would refuse to clip them otherwise.
        optimizer._step_supports_amp_scaling = False
        return optimizer, LambdaLR(optimizer, self.factor)


@dataclass(frozen=True)
class Sampling:
    """Sampler settings of a trained stage (tables 3 and 7).

    Args:
        step_schedule: Step list: a row of table 7 by the name of its stage, or ``uniform``.
        num_steps: Number of steps; that of the paper when null.
        reverse_schedule: Reverse the step list: front-heavy becomes back-heavy.
        method: Sampler.
        gamma: Stochasticity of the ancestral and of the few-step sampler.
        start_time: Time at which a stage with a stacked waveform starts, from that waveform noised to it
            (Meng et al. 2022). 1 starts from pure noise, as in the paper. All steps are scaled by it.
        guidance: Guidance and clipping.
        conditioning_noise: Diffusion time to which the conditioning signal is noised; 0 adds no noise.
        consistency_iterations: Number of consistency projections of the finished audio onto its
            conditioning signal; 0 for none. Deviation: the paper has no such step.
        tone_filter: Seconds of the mean that estimates tones at the multiples of rate / stride in generated
            audio, which are then removed (`lightning_n2m.audio.stride_tones`); 0 leaves them. An output
            with kept parts is left as it is. Deviation: the paper has no such filter.
        overlap: Smallest overlap of two windows, as a share of the window, where a stage that was
            trained on crops runs on a longer input.
    """

    step_schedule: str = "uniform"
    num_steps: int | None = None
    reverse_schedule: bool = False
    method: Method = "ancestral"
    gamma: float = 0.0
    start_time: float = 1.0
    guidance: Guidance = field(default_factory=Guidance)
    conditioning_noise: float = 0.0
    consistency_iterations: int = 0
    tone_filter: float = 0.0
    overlap: float = 0.125

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.num_steps is not None:
            check_range("sampling.num_steps", self.num_steps, 1, 10_000)
        self.times()  # refuses unknown lists and too few steps
        check_range("sampling.gamma", self.gamma, 0, 1)
        check_range("sampling.start_time", self.start_time, 0, 1)
        check_range("sampling.conditioning_noise", self.conditioning_noise, 0, 1)
        check_range("sampling.consistency_iterations", self.consistency_iterations, 0, 1000)
        check_range("sampling.tone_filter", self.tone_filter, 0, 60)
        check_range("sampling.overlap", self.overlap, 0, 0.5)

    def times(self) -> Tensor:
        """Times of the sampler, from 1 down to 0: ``(num_steps + 1,)`` in float64.

        Raises:
            InputError: if there is no such step list, or it has more segments than ``num_steps``; ``few``
                takes any number of steps.
        """
        if self.method != "few" or self.num_steps is None:
            return step_times(self.step_schedule, self.num_steps, self.reverse_schedule)
        positions = torch.linspace(1, 0, self.num_steps + 1, dtype=torch.float64)
        return times_at(self.step_schedule, positions, self.reverse_schedule)

    def __str__(self) -> str:
        """Short description for a progress bar."""
        steps = f"{self.num_steps} steps" if self.num_steps else "the paper's steps"
        guided = f", guidance {self.guidance.scale:g}" if self.guidance.scale != 1 else ""
        return f"{steps} of {self.method}{guided}"
