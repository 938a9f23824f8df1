"""Conditioning of a cascaded stage by the output of the previous one, and its augmentation (section 4.1)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightning_n2m.diffusion.schedule import Schedule
from lightning_n2m.errors import check_range
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.seeding import PerSampleGenerator


@dataclass(frozen=True)
class Augmentation:
    """Noise and blur that training adds to the conditioning, so that a stage is robust to generated inputs.

    The paper does not say how often blur is applied; Ho et al. 2022 blur half of the samples, which is the
    default. As in that paper, the noise level is an input of the network.

    Args:
        t_max: The diffusion time of the noise is drawn uniformly from 0 to this (0.5 for the cascader, 1.0
            for vocoder and super-resolution).
        blur_std: Range of the blur's standard deviation, in samples or spectrogram cells; null for no blur.
        blur_probability: Share of samples that are blurred.
    """

    t_max: float = 1.0
    blur_std: tuple[float, float] | None = None
    blur_probability: float = 0.5

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_range("augmentation.t_max", self.t_max, 0, 1)
        check_range("augmentation.blur_probability", self.blur_probability, 0, 1)
        for std in self.blur_std or ():
            check_range("augmentation.blur_std", std, 0, 1000)


class Conditioner(ABC):
    """Computes the low-fidelity signal from audio, augments it, and turns it into inputs of the network.

    Args:
        augmentation: Noise and blur in training.
        scale: Factor of the signal before noise is added, to bring it near unit variance; 1 in the paper.
        emphasis: Pre-emphasis of a waveform, the same as that of the stage's target; 0 in the paper.
    """

    input_slots: tuple[Literal["stacked", "aligned"], ...]

    def __init__(self, augmentation: Augmentation, scale: float = 1.0, emphasis: float = 0.0) -> None:
        self.augmentation, self.scale, self.emphasis = augmentation, scale, emphasis

    @abstractmethod
    def degrade(self, audio: Tensor) -> Tensor:
        """Ideal output of the previous stage: the low-fidelity signal of audio ``(b, 1, t)``."""

    @abstractmethod
    def match_length(self, signal: Tensor, length: int) -> Tensor:
        """Bring a signal to the length of the network's input for ``length`` output samples."""

    @abstractmethod
    def blur(self, signal: Tensor, std: Tensor) -> Tensor:
        """Blur a signal of matched length, with one standard deviation per sample, ``(b,)``."""

    @abstractmethod
    def network_inputs(self, signal: Tensor, length: int) -> dict[str, Tensor]:
        """Inputs of the network by name (see `Conditions`), from the matched, scaled and noised signal."""

    @property
    @abstractmethod
    def rate_ratio(self) -> tuple[int, int]:
        """Samples of the stage's audio and steps of the signal in the same time, in lowest terms."""

    @abstractmethod
    def project(self, audio: Tensor, signal: Tensor) -> Tensor:
        """Consistency projection: bring `degrade` of audio ``(b, 1, t)`` nearer to the signal."""

    @abstractmethod
    def to_audio(self, signal: Tensor, length: int) -> Tensor:
        """Audio ``(b, 1, length)`` of a signal, at the stage's rate, to listen to."""

    def augmented(
        self, signal: Tensor, length: int, schedule: Schedule, rng: PerSampleGenerator
    ) -> Conditions:
        """Conditions in training: blurred with a probability, noised to a random time.

        Args:
            signal: Low-fidelity signal, ``(b, c, t)`` at its own rate.
            length: Length of the stage's output.
            schedule: Noise schedule of the stage.
            rng: Source of all draws.
        """
        signal = self.match_length(signal, length) * self.scale
        level = rng.uniform(0, self.augmentation.t_max)
        chance, spread = rng.uniform(), rng.uniform()
        if self.augmentation.blur_std is not None:
            low, high = self.augmentation.blur_std
            blurred = self.blur(signal, low + (high - low) * spread)
            chosen = chance < self.augmentation.blur_probability
            signal = torch.where(chosen[:, None, None], blurred, signal)
        return self._noised(signal, length, level, schedule, rng)

    def for_sampling(
        self, signal: Tensor, length: int, level: float, schedule: Schedule, rng: PerSampleGenerator
    ) -> Conditions:
        """Conditions in sampling: noised to a fixed time and not blurred.

        Args:
            signal: Output of the previous stage, ``(b, c, t)`` at its own rate.
            length: Length of the stage's output.
            level: Diffusion time of the noise.
            schedule: Noise schedule of the stage.
            rng: Source of the noise.
        """
        signal = self.match_length(signal, length) * self.scale
        levels = torch.full((len(signal),), level, device=signal.device)
        return self._noised(signal, length, levels, schedule, rng)

    def _noised(
        self, signal: Tensor, length: int, level: Tensor, schedule: Schedule, rng: PerSampleGenerator
    ) -> Conditions:
        noisy = schedule.at(level).diffuse(signal, rng.normal(*signal.shape[1:]))
        # At time 0 no noise is added, although the schedule has a small sigma there.
        noisy = torch.where(level[:, None, None] > 0, noisy, signal)
        return Conditions(**self.network_inputs(noisy, length), level=level)
