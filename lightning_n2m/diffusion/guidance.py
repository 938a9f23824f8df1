"""Classifier-free guidance and dynamic clipping.

The null text sets the output of the cross-attention layers to zero (section 3.4). The functions of this
module take the two estimates as arguments, so that the estimate for a negative prompt can replace the
unconditional one.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_n2m.diffusion.prediction import Denoised
from lightning_n2m.diffusion.schedule import NoiseLevel
from lightning_n2m.errors import check_range


@dataclass(frozen=True)
class Guidance:
    """Settings of guidance and clipping.

    Args:
        scale: Weight w of the conditional estimate (section 3.4); 1 is no guidance.
        rescale: Strength with which the standard deviation of the guided estimate is rescaled to that of the
            conditional one, from 0 (the paper) to 1 (Lin et al. 2023, eq. 15 and 16).
        interval: Times (from, to) with guidance; at other times the conditional estimate is used.
        clip: Percentile of dynamic clipping, as a fraction (Imagen: 0.995); null for no clipping.
        limit: Largest magnitude of clean data; the percentile is at least this.
    """

    scale: float = 1.0
    rescale: float = 0.0
    interval: tuple[float, float] = (0.0, 1.0)
    clip: float | None = 0.995
    limit: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_range("guidance.scale", self.scale, -1000, 1000)
        check_range("guidance.rescale", self.rescale, 0, 1)
        for time in self.interval:
            check_range("guidance.interval", time, 0, 1)
        if self.clip is not None:
            check_range("guidance.clip", self.clip, 0, 1)
        check_range("guidance.limit", self.limit, 0, 1e6)

    def acts_at(self, t: float) -> bool:
        """Whether the unconditional estimate is needed at time ``t``."""
        return self.scale != 1.0 and self.interval[0] <= t <= self.interval[1]


def guide(conditional: Tensor, unconditional: Tensor, scale: float | Tensor, rescale: float = 0.0) -> Tensor:
    """``w conditional + (1 - w) unconditional`` of estimates ``(b, c, t)`` (section 3.4).

    The scale w is a number, or one for each sample, ``(b, 1, 1)``.

    x0, epsilon and v are affine functions of each other for the same x_t, so that guidance of one of them is
    guidance of all.
    """
    guided = scale * conditional + (1 - scale) * unconditional
    if rescale:
        spread = guided.std(dim=(1, 2), keepdim=True).clamp(min=1e-8)
        factor = conditional.std(dim=(1, 2), keepdim=True) / spread
        guided = guided * (rescale * factor + (1 - rescale))
    return guided


def dynamic_clip(x0: Tensor, percentile: float, limit: float = 1.0) -> Tensor:
    """Dynamic thresholding (Saharia et al. 2022, section 2.3), for ``x0`` ``(b, c, t)``.

    Per sample, s is the percentile of the magnitudes but at least ``limit``; values are clipped to
    [-s, s] and scaled back by ``limit / s``.
    """
    magnitudes = x0.abs().flatten(1)
    if magnitudes.amax() <= limit:  # the usual case, in which no percentile is needed
        return x0
    rank = max(1, round(percentile * magnitudes.shape[1]))
    s = magnitudes.kthvalue(rank, dim=1).values.clamp(min=limit)[:, None, None]
    return x0.clamp(-s, s) * (limit / s)


def finish(x0: Tensor, x_t: Tensor, level: NoiseLevel, guidance: Guidance) -> Denoised:
    """Clip an estimate of the data, and compute the noise from it."""
    if guidance.clip is not None:
        x0 = dynamic_clip(x0, guidance.clip, guidance.limit)
    return Denoised.from_x0(x0, x_t, level)
