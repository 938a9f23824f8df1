"""Small stages with emphasis."""

from __future__ import annotations

from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.schedule import CosineSchedule
from lightning_n2m.networks.unet import UNet1d
from lightning_n2m.stages.cascaders import SuperResolution
from lightning_n2m.stages.settings import Sampling

EMPHASIS, SCALE = 0.9, 5.0


def network(strides: list[int], **more: int) -> UNet1d:
    off, ones = [False] * len(strides), [1] * len(strides)
    return UNet1d(1, 8, ones, strides, ones, off, off, 3, stacked_channels=1, **more)


def refiner(sampling: Sampling) -> SuperResolution:
    objective = Objective(CosineSchedule(shift=1.0))
    return SuperResolution(
        network=network([4]), objective=objective, scale=SCALE, emphasis=EMPHASIS, sampling=sampling
    )
