"""Samplers: from noise to data along a list of times.

The last step of every sampler leads to clean data (sigma = 0), not to the sigma_0 of the schedule, which
would leave noise at -40 dB with the linear schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor

from lightning_n2m.diffusion.known import Known
from lightning_n2m.diffusion.prediction import Denoised
from lightning_n2m.diffusion.schedule import Schedule
from lightning_n2m.seeding import PerSampleGenerator

Method = Literal["ancestral", "ddim", "dpm++2m", "sde-dpm++2m", "few"]
Denoiser = Callable[..., Denoised]  # of x_t and t; with the method ``few`` also of the time of the next step
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
    known: Known | None = None,
) -> Tensor:
    """Sample data from noise.

    Args:
        denoise: Estimates of data and noise in x_t ``(b, c, t)`` at time t. With ``few`` its third argument
            is the time at which the step ends, and the estimates are those of a flow map.
        noise: Standard Gaussian noise, ``(b, c, t)``.
        schedule: Noise schedule that the network was trained with.
        times: Decreasing from 1 to 0, as returned by `step_times`.
        rng: Source of the noise of stochastic steps.
        method: ``ancestral`` (eq. 4 of the paper), ``ddim`` (Song et al. 2021, eta = 0), ``dpm++2m``
            (Lu et al. 2022, algorithm 2), ``sde-dpm++2m`` (the same paper: the ancestral step with the
            same second-order multistep) or ``few`` (the flow map of a distilled network, see `flow_map`).
        gamma: Stochasticity of ``ancestral``: 0 the lower (posterior) variance, 1 the upper one.
            Both are stochastic; 0 is not DDIM. ``sde-dpm++2m`` uses the lower one. With ``few`` each step
            leads to ``sqrt(1 - gamma^2)`` times the noise, relative to the data, at its end, and fresh noise
            leads back to the end (Kim et al. 2024, algorithm 3): 0 is deterministic, 1 estimates clean data
            in each step, as a consistency model does.
        progress: Called after each step with the number of completed steps and of all steps.
        known: Known part of the data, which every method keeps exactly.

    Returns:
        Data, ``(b, c, t)``.
    """
    x = noise
    log_snr = schedule.log_snr(times).double().tolist()
    log_snr[-1] = math.inf
    previous: tuple[Tensor, float] | None = None
    before = previous
    steps = range(len(times) - 1)
    visits: Iterable[tuple[int, bool]] = ((i, False) for i in steps)
    if known is not None:
        denoise, visits = known.constrain(denoise, schedule), known.visits(len(steps))
    stochasticity = gamma if known is None else known.stochasticity(gamma)
    for i, is_repeated in visits:
        if is_repeated:
            # Noise the result of the step back to its beginning, and forget the estimate that led to it.
            x, previous = forward_step(x, log_snr[i + 1], log_snr[i], rng), before
        before = previous
        now, after = log_snr[i], log_snr[i + 1]
        if method == "few":
            end, below = _few_step_end(schedule, times[i + 1].item(), after, gamma)
            estimate = denoise(x, times[i].item(), end)
        else:
            estimate = denoise(x, times[i].item())
        x0 = estimate.x0
        if method.endswith("dpm++2m"):
            x0, previous = extrapolate(x0, now, after, previous), (x0, now)
        if method == "ddim":
            x = ddim_step(estimate, after)
        elif method == "few":
            x = ddim_step(estimate, below)
            if after < below:
                x = forward_step(x, below, after, rng)
        elif method == "dpm++2m":
            x = dpm_solver_step(x, x0, now, after)
        else:
            x = ancestral_step(x, x0, now, after, stochasticity if method == "ancestral" else 0.0, rng)
        if progress is not None:
            progress(i + 1, len(times) - 1)
    return x


def _few_step_end(schedule: Schedule, time: float, log_snr: float, gamma: float) -> tuple[float, float]:
    """Time and log-SNR to which a flow map leads before noise leads back to the end of the step."""
    if gamma == 0 or log_snr == math.inf:
        return time, log_snr
    if gamma == 1:
        return 0.0, math.inf
    below = log_snr - math.log1p(-(gamma**2))
    return schedule.time_of(torch.tensor(below)).item(), below


def extrapolate(x0: Tensor, now: float, after: float, previous: tuple[Tensor, float] | None) -> Tensor:
    """Extrapolate the data estimate to the middle of the step, from it and the previous estimate.

    Second-order multistep in half the log-SNR (Lu et al. 2022, algorithm 2). The first step has no previous
    estimate, and the last one infinite length: both are of first order.

    Args:
        x0: Data estimate at the beginning of the step, ``(b, c, t)``.
        now: Log-SNR at the beginning of the step.
        after: Log-SNR at its end.
        previous: Data estimate of the previous step and its log-SNR.
    """
    if previous is None or after == math.inf:
        return x0
    previous_x0, before = previous
    return torch.lerp(previous_x0, x0, 1 + (after - now) / (2 * (now - before)))


def ancestral_step(
    x: Tensor, x0: Tensor, now: float, after: float, gamma: float | Tensor, rng: PerSampleGenerator
) -> Tensor:
    """Eq. 4 of the paper, in its x0 form, between two log-SNRs.

    ``x_s = r (alpha_s / alpha_t) x_t + (1 - r) alpha_s x0 + s~^(1-gamma) s^gamma z`` with
    ``r = exp(now - after)``, posterior variance ``s~^2 = (1 - r) sigma_s^2`` and upper variance
    ``s^2 = (1 - r) sigma_t^2``. The step to clean data adds no noise.
    """
    ratio = math.exp(now - after)
    scale = ratio * _alpha(after) / _alpha(now)
    mean = scale * x + (1 - ratio) * _alpha(after) * x0
    # Standard deviations of the posterior and of the forward step.
    lower, upper = (math.sqrt((1 - ratio) * _alpha(-level) ** 2) for level in (after, now))
    if after == math.inf:
        return mean
    return mean + lower ** (1 - gamma) * upper**gamma * rng.normal(*x.shape[1:])


def forward_step(x: Tensor, now: float, before: float, rng: PerSampleGenerator) -> Tensor:
    """Sample of q(x_t | x_s): data at the log-SNR ``now`` noised to the lower log-SNR ``before``."""
    scale = _alpha(before) / _alpha(now)
    variance = _alpha(-before) ** 2 - (scale * _alpha(-now)) ** 2
    return scale * x + math.sqrt(max(0.0, variance)) * rng.normal(*x.shape[1:])


def ddim_step(estimate: Denoised, after: float) -> Tensor:
    """Data and noise estimate mixed at the log-SNR ``after`` (Song et al. 2021, eq. 12)."""
    return _alpha(after) * estimate.x0 + _alpha(-after) * estimate.epsilon


def dpm_solver_step(x: Tensor, x0: Tensor, now: float, after: float) -> Tensor:
    """One step with a data estimate that is constant over the step (DPM-Solver++, Lu et al. 2022)."""
    decay = math.exp((now - after) / 2)
    return (_alpha(-after) / _alpha(-now) * x).add_(x0, alpha=_alpha(after) * (1 - decay))


def _alpha(log_snr: float) -> float:
    """alpha at a log-SNR; sigma is the alpha of its negative."""
    return math.sqrt(torch.sigmoid(torch.tensor(log_snr, dtype=torch.float64)).item())
