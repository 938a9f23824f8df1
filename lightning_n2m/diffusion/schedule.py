"""Noise schedules: the log-SNR as a function of the diffusion time (section 3.1)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_n2m.errors import check_range


@dataclass(frozen=True)
class NoiseLevel:
    """Noise level of each sample, which broadcasts over ``(b, c, t)``.

    Args:
        log_snr: ln(alpha^2 / sigma^2), ``(b, 1, 1)``.
    """

    log_snr: Tensor

    @property
    def alpha(self) -> Tensor:
        """Factor of the signal, in [0, 1]."""
        return torch.sigmoid(self.log_snr).sqrt()

    @property
    def sigma(self) -> Tensor:
        """Factor of the noise, in [0, 1]."""
        return torch.sigmoid(-self.log_snr).sqrt()

    def diffuse(self, x0: Tensor, noise: Tensor) -> Tensor:
        """Sample of q(x_t | x_0): ``alpha x_0 + sigma epsilon``, all ``(b, c, t)``."""
        return self.alpha * x0 + self.sigma * noise


class Schedule(ABC):
    """Log-SNR as a function of time, with an optional constant shift.

    Args:
        shift: Added to the log-SNR, in nats. With negative values more of the times are noisy, as long or
            high-resolution signals need (Hoogeboom et al. 2023).
    """

    def __init__(self, shift: float = 0.0) -> None:
        check_range("schedule.shift", shift, -100, 100)
        self.shift = shift

    @abstractmethod
    def unshifted_log_snr(self, t: Tensor) -> Tensor:
        """Log-SNR before the shift, for ``t`` in float64."""

    def log_snr(self, t: Tensor) -> Tensor:
        """Log-SNR at times ``t`` of any shape, in float32.

        Computed in float64: near t = 1 the angle of the cosine schedule is within 5e-5 of pi/2, where
        float32 has only three correct digits.
        """
        return self.exact_log_snr(t).float()

    def exact_log_snr(self, t: Tensor) -> Tensor:
        """Log-SNR at times ``t`` of any shape, in float64."""
        return self.unshifted_log_snr(t.double()) + self.shift

    def time_of(self, log_snr: Tensor) -> Tensor:
        """Times in [0, 1] with this log-SNR, of any shape, in float64: the inverse of `log_snr`.

        By bisection, since the log-SNR falls with time; values outside the schedule give 0 or 1.
        """
        low = torch.zeros_like(log_snr, dtype=torch.float64)
        high = torch.ones_like(low)
        for _ in range(53):  # The digits of float64.
            middle = (low + high) / 2
            is_later = self.exact_log_snr(middle) > log_snr
            low, high = torch.where(is_later, middle, low), torch.where(is_later, high, middle)
        return (low + high) / 2

    def at(self, t: Tensor) -> NoiseLevel:
        """Noise level of each sample, for times ``(b,)``."""
        return NoiseLevel(self.log_snr(t)[:, None, None])


class CosineSchedule(Schedule):
    """``alpha_t = cos(a t + b)`` (eq. 6 of the paper), exactly ``log_snr_max`` to ``log_snr_min``.

    Args:
        log_snr_max: Log-SNR at t = 0, before the shift.
        log_snr_min: Log-SNR at t = 1, before the shift.
        shift: See `Schedule`.
    """

    def __init__(self, log_snr_max: float = 20.0, log_snr_min: float = -20.0, shift: float = 0.0) -> None:
        super().__init__(shift)
        check_range("schedule.log_snr_max", log_snr_max, -100, 100)
        check_range("schedule.log_snr_min", log_snr_min, -100, log_snr_max - 1e-3)
        self.b = math.atan(math.exp(-log_snr_max / 2))
        self.a = math.atan(math.exp(-log_snr_min / 2)) - self.b

    def unshifted_log_snr(self, t: Tensor) -> Tensor:
        """``-2 ln tan(a t + b)``, for ``t`` in float64."""
        return -2 * torch.log(torch.tan(self.a * t + self.b))


class LinearSchedule(Schedule):
    """The DDPM schedule in continuous time: beta rises linearly over ``steps`` steps.

    ``alpha_t^2 = exp(-(beta_0 + steps (beta_0 t + (beta_1 - beta_0) t^2 / 2)))``, where the leading
    beta_0 is the first step of DDPM, which keeps the log-SNR at t = 0 finite (9.21).

    Deviation: eq. 5 of the paper is a sigma^2 linear from 1e-4 to 0.02. Read literally, the data is nearly
    clean at t = 1 (log-SNR 3.9), but sampling starts from pure noise. 1e-4 and 0.02 are the first and last
    beta of DDPM, so the equation is read as the DDPM schedule.

    Args:
        beta_0: Variance added by the first step.
        beta_1: Variance added by the last step.
        steps: Number of discrete steps of the DDPM schedule.
        shift: See `Schedule`.
    """

    def __init__(
        self, beta_0: float = 1e-4, beta_1: float = 0.02, steps: int = 1000, shift: float = 0.0
    ) -> None:
        super().__init__(shift)
        check_range("schedule.beta_0", beta_0, 1e-12, 1)
        check_range("schedule.beta_1", beta_1, beta_0, 1)
        check_range("schedule.steps", steps, 1, 10**6)
        self.beta_0, self.beta_1, self.steps = beta_0, beta_1, steps

    def unshifted_log_snr(self, t: Tensor) -> Tensor:
        """``-ln(expm1(integral of beta))``, for ``t`` in float64."""
        integral = self.beta_0 + self.steps * (self.beta_0 * t + (self.beta_1 - self.beta_0) * t**2 / 2)
        return -torch.log(torch.expm1(integral))
