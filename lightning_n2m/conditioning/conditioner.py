"""The signal that a cascaded stage refines, and its augmentation (section 4.1)."""

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
    """How the conditioning is damaged in training, so that a stage forgives its predecessor's faults.

    The paper says what is drawn but not how often blur is applied; Ho et al. 2022 blur half of the
    time, which is the default. The network is told the noise level, as in that paper.

    Args:
        t_max: The noise goes up to this diffusion time, drawn uniformly (0.5 for the cascader, 1.0
            for vocoder and super-resolution).
        blur_std: Range of the blur's standard deviation, in samples or spectrogram cells; null
            for no blur.
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
    """Makes the low-fidelity signal from real audio, damages it, and hands it to the network.

    Args:
        augmentation: Damage in training.
        scale: The signal is multiplied by this before noise is added, so that noise and signal are of
            like size; 1 in the paper.
        emphasis: Pre-emphasis of a waveform, the same as of the stage's target; 0 in the paper.
    """

    input_slots: tuple[Literal["stacked", "aligned"], ...]

    def __init__(self, augmentation: Augmentation, scale: float = 1.0, emphasis: float = 0.0) -> None:
        self.augmentation, self.scale, self.emphasis = augmentation, scale, emphasis

    @abstractmethod
    def degrade(self, audio: Tensor) -> Tensor:
        """What the stage before would ideally have delivered for real audio ``(b, 1, t)``."""

    @abstractmethod
    def match_length(self, signal: Tensor, length: int) -> Tensor:
        """Bring a delivered signal to the length of its entrance, for ``length`` output samples."""

    @abstractmethod
    def blur(self, signal: Tensor, std: Tensor) -> Tensor:
        """Blur a fitted signal, with a standard deviation ``(b,)`` for each sample."""

    @abstractmethod
    def network_inputs(self, signal: Tensor, length: int) -> dict[str, Tensor]:
        """What goes into each entrance, from the fitted, scaled and noised signal."""

    @property
    @abstractmethod
    def rate_ratio(self) -> tuple[int, int]:
        """So many samples of the stage's audio are so many steps of the signal, in smallest whole numbers."""

    @abstractmethod
    def project(self, audio: Tensor, signal: Tensor) -> Tensor:
        """Audio ``(b, 1, t)``, changed as little as it takes to `degrade` nearer to the signal."""

    @abstractmethod
    def to_audio(self, signal: Tensor, length: int) -> Tensor:
        """A listening version ``(b, 1, length)``, at the stage's rate, of a delivered signal."""

    def augmented(
        self, signal: Tensor, length: int, schedule: Schedule, rng: PerSampleGenerator
    ) -> Conditions:
        """Training: blurred by chance, noised to a random time that the network is told."""
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
        """Sampling: noised to one chosen time and never blurred."""
        signal = self.match_length(signal, length) * self.scale
        levels = torch.full((len(signal),), level, device=signal.device)
        return self._noised(signal, length, levels, schedule, rng)

    def _noised(
        self, signal: Tensor, length: int, level: Tensor, schedule: Schedule, rng: PerSampleGenerator
    ) -> Conditions:
        noisy = schedule.at(level).diffuse(signal, rng.normal(*signal.shape[1:]))
        # Time 0 means untouched: the schedule's own sigma_0 is not added where none was asked for.
        noisy = torch.where(level[:, None, None] > 0, noisy, signal)
        return Conditions(**self.network_inputs(noisy, length), level=level)
