"""The three predictions of a network, and conversions between them.

Given x_t, they are affine functions of each other:
``epsilon``, ``x0``, and ``v = alpha epsilon - sigma x_0`` (Salimans & Ho 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_n2m.diffusion.schedule import NoiseLevel

Prediction = Literal["v", "epsilon", "x0"]
Weight = Literal["simplified", "sigma", "velocity", "min_snr"]


@dataclass(frozen=True)
class Denoised:
    """Estimates of the clean data and of the noise in x_t, both ``(b, c, t)``; each determines the other."""

    x0: Tensor
    epsilon: Tensor

    @staticmethod
    def from_x0(x0: Tensor, x_t: Tensor, level: NoiseLevel) -> Denoised:
        """The pair with this ``x0``, for example after clipping."""
        return Denoised(x0, torch.addcmul(x_t, level.alpha, x0, value=-1).div_(level.sigma))


def prediction_target(kind: Prediction, x0: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
    """Target of the network's output for ``x_t = alpha x_0 + sigma noise``."""
    if kind == "epsilon":
        return noise
    if kind == "x0":
        return x0
    return level.alpha * noise - level.sigma * x0


def to_denoised(kind: Prediction, output: Tensor, x_t: Tensor, level: NoiseLevel) -> Denoised:
    """Convert a network's output into estimates of the data and of the noise."""
    if kind == "epsilon":
        return Denoised((x_t - level.sigma * output) / level.alpha, output)
    if kind == "x0":
        return Denoised.from_x0(output, x_t, level)
    return Denoised(level.alpha * x_t - level.sigma * output, level.sigma * x_t + level.alpha * output)


def loss_weight(weight: Weight, kind: Prediction, level: NoiseLevel, min_snr_gamma: float = 5.0) -> Tensor:
    """Weight of the squared error of the network's output, ``(b, 1, 1)``.

    The weights are defined on the error of epsilon (section 3.1 of the paper): ``simplified`` 1,
    ``sigma`` sigma_t^2. From ``eps^ - eps = alpha (v^ - v) = -(alpha / sigma) (x0^ - x0)`` follows
    the exact factor for the other predictions. ``velocity`` is not in the paper: 1 / alpha_t^2, which is
    the squared error of v, so that the noisiest times keep their weight when v is predicted. ``min_snr`` is
    not in the paper either: min(SNR, gamma) on the error of x0 (Hang et al. 2023), for each prediction.

    Args:
        weight: Which weight.
        kind: What the network predicts.
        level: Noise level of each sample.
        min_snr_gamma: Largest weight of the error of x0, for ``min_snr``.
    """
    if weight == "min_snr":
        # The weight of the error of x0 is exp(min(ln SNR, ln gamma)). On the error of v, which is
        # -(x0^ - x0) / sigma, it is sigma^2 times that; on the error of epsilon, 1 / SNR times.
        capped = level.log_snr.clamp(max=math.log(min_snr_gamma))
        converted = {"epsilon": -level.log_snr, "v": F.logsigmoid(-level.log_snr), "x0": 0 * capped}
        return torch.exp(capped + converted[kind])
    alpha2, sigma2 = torch.sigmoid(level.log_snr), torch.sigmoid(-level.log_snr)
    # Simplified terms: alpha^2 / alpha^2 would be 0 / 0 where float32 underflows.
    factor = {
        "epsilon": {"simplified": 1 + 0 * alpha2, "sigma": sigma2, "velocity": 1 / alpha2},
        "v": {"simplified": alpha2, "sigma": sigma2 * alpha2, "velocity": 1 + 0 * alpha2},
        "x0": {"simplified": torch.exp(level.log_snr), "sigma": alpha2, "velocity": 1 / sigma2},
    }
    return factor[kind][weight]
