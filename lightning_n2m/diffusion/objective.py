"""The training objective (section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lightning_n2m.diffusion.prediction import (
    Denoised,
    Prediction,
    Weight,
    loss_weight,
    prediction_target,
    to_denoised,
)
from lightning_n2m.diffusion.schedule import Schedule
from lightning_n2m.errors import check_range

Network = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """Losses of a batch, each ``(b,)``: the weighted loss, and the squared error without its weight."""

    weighted: Tensor
    plain: Tensor


class Objective:
    """Schedule, prediction and weight: the settings that training and sampling share.

    Args:
        schedule: Noise level as a function of time.
        prediction: Output of the network. The paper predicts ``epsilon``; the default ``v`` is well scaled at
            both ends of the schedule.
        weight: Weight of the squared error of epsilon, converted exactly to the prediction.
        min_snr_gamma: Upper limit of the weight ``min_snr``.
    """

    def __init__(
        self,
        schedule: Schedule,
        prediction: Prediction = "v",
        weight: Weight = "simplified",
        min_snr_gamma: float = 5.0,
    ) -> None:
        check_range("objective.min_snr_gamma", min_snr_gamma, 1e-6, 1e6)
        self.schedule, self.prediction, self.weight = schedule, prediction, weight
        self.min_snr_gamma = min_snr_gamma

    def loss(
        self, network: Network, x0: Tensor, t: Tensor, noise: Tensor, known: Tensor | None = None
    ) -> Loss:
        """Add noise to ``x0`` at times ``t`` and compute the loss of the network's output (section 3.1).

        Args:
            network: Called with x_t ``(b, c, t)`` and the times ``(b,)``.
            x0: Clean data, ``(b, c, t)``.
            t: Times in [0, 1], ``(b,)``.
            noise: Standard Gaussian, as ``x0``.
            known: Mask ``(b, 1, t)`` of steps that sampling takes from ``x0``, whatever the network's output
                is: the loss is that of the other steps; 0 where there are none.
        """
        level = self.schedule.at(t)
        output = network(level.diffuse(x0, noise), t)
        target = prediction_target(self.prediction, x0, noise, level)
        squared = (output.float() - target).square()
        if known is None:
            error = squared.flatten(1).mean(1)
        else:
            unknown = (1 - known.to(squared)).flatten(1)
            error = (squared.mean(1) * unknown).sum(1) / unknown.sum(1).clamp(min=1)
        weight = loss_weight(self.weight, self.prediction, level, self.min_snr_gamma)
        return Loss(weight.flatten() * error, error)

    def denoise(self, network: Network, x_t: Tensor, t: Tensor) -> Denoised:
        """Estimates of data and noise in ``x_t`` ``(b, c, t)`` at times ``(b,)``."""
        return to_denoised(self.prediction, network(x_t, t).float(), x_t, self.schedule.at(t))
