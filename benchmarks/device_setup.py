"""Stages of any recipe with random inputs on any device, and clocks for that device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.stage_config import build_stage

ROOT = Path(__file__).parents[1]
STAGES = (
    "waveform_generator",
    "waveform_cascader",
    "spectrogram_generator",
    "spectrogram_vocoder",
    "super_resolution",
)
# Stages of each route to 24 kHz, in order.
ROUTES = {
    "waveform": ("waveform_generator", "waveform_cascader", "super_resolution"),
    "spectrogram": ("spectrogram_generator", "spectrogram_vocoder", "super_resolution"),
}
# Values that shrink any network, for tests on the CPU; strides and the number of levels stay.
TINY: dict[str, Any] = {"base_channels": 16, "heads": 2, "groups": 4}
TINY_SECONDS = 0.48


def stage_config(name: str, recipes: str = "paper", tiny: bool = False) -> dict[str, Any]:
    """Config of a stage.

    Args:
        name: Name of the stage.
        recipes: Folder of ``configs``: ``paper`` or ``starter``.
        tiny: Shrink the network and the clip, so that a step takes milliseconds on a CPU.
    """
    path = ROOT / "configs" / recipes / f"{name}.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
    if tiny:
        network = config["init_args"]["network"]["init_args"]
        network.update(TINY, multipliers=[1] * len(network["strides"]), blocks=[1] * len(network["strides"]))
        if network.get("text_channels"):
            network["text_channels"] = 8
        config["init_args"]["seconds"] = TINY_SECONDS
    return config


def build(config: dict[str, Any], device: str) -> Stage:
    """Build a stage with random weights; the text encoder is not loaded."""
    torch.manual_seed(0)
    return build_stage(config).to(device)


@dataclass(frozen=True)
class Inputs:
    """Inputs of a training step or of one evaluation in sampling.

    Args:
        x0: Clean data, ``(b, c, t)``.
        times: Diffusion times, ``(b,)``.
        noise: As ``x0``.
        conditions: Conditions, with random text vectors if the stage has text.
    """

    x0: Tensor
    times: Tensor
    noise: Tensor
    conditions: Conditions


def random_inputs(stage: Stage, clips: int, seconds: float, training: bool = True) -> Inputs:
    """Random inputs that are equal on all devices.

    Args:
        stage: The stage.
        clips: Number of clips.
        seconds: Length of a clip.
        training: Conditions as in training, with augmentation; otherwise as in sampling.
    """
    generator = torch.Generator().manual_seed(0)
    device, length = stage.device, round(seconds * stage.output_rate)
    audio = 0.1 * torch.randn(clips, 1, round(seconds * stage.sample_rate), generator=generator)
    conditions = Conditions()
    if stage.conditioner is not None:
        signal, schedule = stage.conditioner.degrade(audio), stage.objective.schedule
        rng = PerSampleGenerator(0, range(clips))
        if training:
            conditions = stage.conditioner.augmented(signal, length, schedule, rng)
        else:
            level = stage.sampling.conditioning_noise
            conditions = stage.conditioner.for_sampling(signal, length, level, schedule, rng)
    if stage.text is not None:
        width = stage.network.text_channels
        assert width is not None
        vectors = torch.randn(clips, stage.text.max_tokens, width, generator=generator)
        conditions = conditions.with_text(vectors, torch.ones(vectors.shape[:2], dtype=torch.bool))
    moved = {name: None if value is None else value.to(device) for name, value in vars(conditions).items()}
    shape = (clips, stage.network.channels, length)
    return Inputs(
        x0=torch.randn(shape, generator=generator).to(device),
        times=torch.rand(clips, generator=generator).to(device),
        noise=torch.randn(shape, generator=generator).to(device),
        conditions=Conditions(**moved),
    )


def synchronise(device: str) -> None:
    """Wait for all work on the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def median_seconds(function: Callable[[], object], device: str, warmup: int, rounds: int) -> float:
    """Median wall-clock time of a function on the device."""
    for _ in range(warmup):
        function()
    times = []
    for _ in range(rounds):
        synchronise(device)
        start = time.perf_counter()
        function()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def default_device() -> str:
    """``cuda`` if there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"
