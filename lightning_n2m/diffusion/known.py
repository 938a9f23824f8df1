"""Sampling with known data: a recording of which parts are generated again.

The known part follows its exact posterior: given x_t and the known x_0, every sampler moves it to
``q(x_s | x_t, x_0)``, because the sampler's own step is that posterior for the data estimate, and the known
data is the data estimate there.

The unknown part has to follow the known one, but its estimate from x_t sees the known part only under noise.
Two settings improve on this, at the cost of more network evaluations:

- ``resampling`` repeats each step from newly noised data (Lugmayr et al. 2022, algorithm 1), so that the
  unknown part has several chances to match the known one;
- ``corrections`` replaces the data estimate by its expectation given the known data as well. With the
  covariance ``V = Cov(x_0 | x_t) = sigma^2 / alpha d x0 / d x_t`` (Tweedie's formula of second order) it is
  ``x0 + V A' (A V A')^-1 (known - A x0)``, where A selects the known part (Rozet et al. 2024). The system is
  solved by that many iterations of conjugate gradients. For Gaussian data this is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_n2m.diffusion.prediction import Denoised
from lightning_n2m.diffusion.schedule import NoiseLevel, Schedule
from lightning_n2m.errors import check_range


@dataclass(frozen=True, eq=False)
class Known:
    """Known data of a sampling.

    Args:
        x0: Clean data, ``(b, c, t)`` or ``(1, c, t)``; any finite value where it is not known.
        mask: True where the data is known, ``(1, 1, t)``.
        strength: Time at which sampling starts, from ``x0`` noised to it (Meng et al. 2022); 1 starts from
            noise alone. The unknown part keeps more of ``x0`` the lower it is.
        resampling: How often each step is run; 1 for no repetition.
        corrections: Iterations of the correction of the data estimate; 0 for none.
    """

    x0: Tensor
    mask: Tensor
    strength: float = 1.0
    resampling: int = 1
    corrections: int = 0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_range("strength", self.strength, 0.01, 1)
        check_range("resampling", self.resampling, 1, 1000)
        check_range("corrections", self.corrections, 0, 1000)

    def starting_point(self, noise: Tensor, schedule: Schedule) -> Tensor:
        """The data noised to the time ``strength`` by standard Gaussian noise ``(b, c, t)``."""
        start = torch.full((len(noise),), self.strength, device=noise.device)
        return schedule.at(start).diffuse(self.x0, noise)

    def visits(self, steps: int) -> Iterator[tuple[int, bool]]:
        """Number of each step in order, and whether it is a repetition; the last step has none."""
        for i in range(steps):
            for repeat in range(1 if i == steps - 1 else self.resampling):
                yield i, repeat > 0

    def stochasticity(self, gamma: float) -> float | Tensor:
        """Gamma of the ancestral sampler: 0, which is the posterior's variance, for the known part."""
        return gamma if gamma == 0 else gamma * (~self.mask).to(self.x0)

    def constrain(self, denoise: Callable[..., Denoised], schedule: Schedule) -> Callable[..., Denoised]:
        """A denoiser that knows the known data.

        Args:
            denoise: Estimates of data and noise in x_t ``(b, c, t)`` at time t.
            schedule: Noise schedule.
        """

        def constrained(x_t: Tensor, time: float, *later: float) -> Denoised:
            level = schedule.at(torch.full((len(x_t),), time, device=x_t.device))
            if self.corrections:
                x0 = self._corrected(lambda x: denoise(x, time, *later).x0, x_t, level)
            else:
                x0 = denoise(x_t, time, *later).x0
            return Denoised.from_x0(torch.where(self.mask, self.x0, x0), x_t, level)

        return constrained

    def _corrected(self, estimate: Callable[[Tensor], Tensor], x_t: Tensor, level: NoiseLevel) -> Tensor:
        """Expectation of the data given x_t and the known data, for data that is Gaussian given x_t."""
        # Tensors of inference mode cannot take part in gradients; a copy made outside of it can.
        with torch.inference_mode(False), torch.enable_grad():
            x = x_t.clone().requires_grad_()
            x0 = estimate(x)
            factor = level.sigma**2 / level.alpha
            mask = self.mask.to(x)

            def covariance(vector: Tensor) -> Tensor:
                # The covariance is symmetric, so that a product with the Jacobian is one with its transpose.
                return factor * torch.autograd.grad(x0, x, vector, retain_graph=True)[0]

            residual = mask * (self.x0 - x0.detach())
            weights = conjugate_gradients(lambda v: mask * covariance(v), residual, self.corrections)
            return x0.detach() + covariance(weights)


def conjugate_gradients(product: Callable[[Tensor], Tensor], target: Tensor, iterations: int) -> Tensor:
    """Solve ``product(x) = target`` for a symmetric, positive definite product, each sample on its own.

    Args:
        product: The linear map, of tensors ``(b, c, t)``.
        target: Right side.
        iterations: Number of products.
    """
    solution, residual = torch.zeros_like(target), target
    direction, energy = residual, _dot(residual, residual)
    for _ in range(iterations):
        image = product(direction)
        curvature = _dot(direction, image)
        # A network's Jacobian is only nearly symmetric and positive: a sample stops where it is neither.
        step = torch.where(curvature > 0, energy / curvature.clamp(min=1e-30), 0.0)
        solution = solution + step * direction
        residual = residual - step * image
        new_energy = _dot(residual, residual)
        direction = residual + new_energy / energy.clamp(min=1e-30) * direction
        energy = new_energy
    return solution


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2), keepdim=True)
