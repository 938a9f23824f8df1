"""Small stages with emphasis, and variants of those that come with the project."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.schedule import CosineSchedule
from lightning_n2m.networks.unet import UNet1d
from lightning_n2m.stages.bundle import read_config, write_bundle
from lightning_n2m.stages.bundle_weights import WEIGHTS
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


def without_numbers(bundle: Path, folder: Path) -> Path:
    """A copy of a generator's bundle whose network lacks the inputs for tempo, key and beats."""
    config = read_config(bundle)
    config["init_args"]["network"]["init_args"].pop("numbers", None)
    weights = load_file(bundle / WEIGHTS)
    kept = {name: weight for name, weight in weights.items() if not name.startswith("numbers.")}
    return write_bundle(folder, config, kept)
