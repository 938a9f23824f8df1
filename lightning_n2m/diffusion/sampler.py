"""Samplers: from noise to data along a list of times.

All share one signature and one end: the last step goes to clean data (sigma = 0), not to the
sigma_0 of the schedule, which for the linear one would leave a hiss at -40 dB.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from lightning_n2m.diffusion.prediction import Denoised
from lightning_n2m.diffusion.schedule import Schedule
from lightning_n2m.seeding import PerSampleGenerator

Method = Literal["ancestral", "ddim", "dpm++2m", "sde-dpm++2m"]
Denoiser = Callable[[Tensor, float], Denoised]
Progress = Callable[[int, int], None]


def sample(
    denoise: Denoiser,
    noise: Tensor,
    schedule: Schedule,
    times: Tensor,
    rng: PerSampleGenerator,
    method: Method = "ancestral",
    gamma: float = 0.0,
    progress: Progress | None = None,
) -> Tensor:
    """Walk from noise to data.

    Args:
        denoise: Estimates of data and noise in x_t ``(b, c, t)`` at time t.
        noise: Where to start: standard Gaussian, ``(b, c, t)``.
        schedule: The schedule that the network was trained with.
        times: Falling from 1 to 0, as `step_times` returns them.
        rng: Source of the noise that stochastic steps add.
        method: ``ancestral`` (eq. 4 of the paper), ``ddim`` (Song et al. 2021, eta = 0), ``dpm++2m``
            (Lu et al. 2022, algorithm 2) or ``sde-dpm++2m`` (theirs too: the ancestral step made
            second order by the same multistep).
        gamma: Stochasticity of ``ancestral``: 0 the lower (posterior) variance, 1 the upper one.
            Both are stochastic; 0 is not DDIM. ``sde-dpm++2m`` takes the lower one.
        progress: Called after each step with the number of steps done and in all.

    Returns:
        Data, ``(b, c, t)``.
    """
    x = noise
    log_snr = schedule.log_snr(times).double().tolist()
    log_snr[-1] = math.inf
    previous: tuple[Tensor, float] | None = None
    for i in range(len(times) - 1):
        estimate = denoise(x, float(times[i]))
        here, there = log_snr[i], log_snr[i + 1]
        x0 = estimate.x0
        if method.endswith("dpm++2m"):
            x0, previous = extrapolate(x0, here, there, previous), (x0, here)
        if method == "ddim":
            x = ddim_step(estimate, there)
        elif method == "dpm++2m":
            x = dpm_solver_step(x, x0, here, there)
        else:
            x = ancestral_step(x, x0, here, there, gamma if method == "ancestral" else 0.0, rng)
        if progress is not None:
            progress(i + 1, len(times) - 1)
    return x


def extrapolate(x0: Tensor, here: float, there: float, previous: tuple[Tensor, float] | None) -> Tensor:
    """What the data estimate will be half-way through the step, from it and the one before.

    Second order multistep in half the log-SNR (Lu et al. 2022, algorithm 2). The first step has no history
    and the last one an infinite length: both are first order.
    """
    if previous is None or there == math.inf:
        return x0
    past_x0, past = previous
    return torch.lerp(past_x0, x0, 1 + (there - here) / (2 * (here - past)))


def ancestral_step(
    x: Tensor, x0: Tensor, here: float, there: float, gamma: float, rng: PerSampleGenerator
) -> Tensor:
    """Eq. 4 of the paper, in its x0 form, between two log-SNRs.

    ``x_s = r (alpha_s / alpha_t) x_t + (1 - r) alpha_s x0 + s~^(1-gamma) s^gamma z`` with
    ``r = exp(here - there)``, posterior variance ``s~^2 = (1 - r) sigma_s^2`` and upper variance
    ``s^2 = (1 - r) sigma_t^2``. The step to clean data adds no noise.
    """
    ratio = math.exp(here - there)
    scale = ratio * _alpha(there) / _alpha(here)
    mean = scale * x + (1 - ratio) * _alpha(there) * x0
    lower, upper = (math.sqrt((1 - ratio) * _alpha(-at) ** 2) for at in (there, here))
    if there == math.inf:
        return mean
    return mean + lower ** (1 - gamma) * upper**gamma * rng.normal(*x.shape[1:])


def ddim_step(estimate: Denoised, there: float) -> Tensor:
    """Noise and data estimate put together again at another level (Song et al. 2021, eq. 12)."""
    return _alpha(there) * estimate.x0 + _alpha(-there) * estimate.epsilon


def dpm_solver_step(x: Tensor, x0: Tensor, here: float, there: float) -> Tensor:
    """Towards an estimate of the data that holds for the whole step (Lu et al. 2022, DPM-Solver++)."""
    decay = math.exp((here - there) / 2)
    return (_alpha(-there) / _alpha(-here) * x).add_(x0, alpha=_alpha(there) * (1 - decay))


def _alpha(log_snr: float) -> float:
    """alpha of a log-SNR; sigma is the alpha of its negative."""
    return math.sqrt(torch.sigmoid(torch.tensor(log_snr, dtype=torch.float64)).item())
