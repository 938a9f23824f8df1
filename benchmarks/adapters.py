"""An adapter of the starter's spectrogram generator beside full fine-tuning: parameters, memory, time.

``python -m benchmarks.adapters`` prints the table of docs/adapters.md. Memory is counted, not sampled:
weights, gradients, Adam's moments, the average, and the peak of activations on the meta device, in 32 bits.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from benchmarks.music import ROOT
from benchmarks.result import Result
from lightning_n2m.networks.adapters import AdapterSettings, attach
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import read_config
from lightning_n2m.stages.stage_config import build_stage
from lightning_n2m.stages.training_cost import step_cost
from lightning_n2m.yaml_reader import read_yaml

CLIPS = 4  # of 5.12 s in a batch
STEPS = 5
PEER = "full fine-tuning"


@dataclass(frozen=True)
class Cost:
    """Cost of one form of training.

    Args:
        name: Its name.
        trained: Number of trained parameters.
        memory: Bytes of weights, gradients, moments, average and activations of a batch.
        seconds: Processor seconds of a step, the median.
    """

    name: str
    trained: int
    memory: int
    seconds: float


def measure() -> Iterable[Result]:
    full, *adapters = costs()
    for cost in adapters:
        share = f"adapters: {cost.name},"
        yield Result(f"{share} trained parameters", cost.trained, full.trained, PEER, "parameters", 33, False)
        yield Result(
            f"{share} memory of a step", cost.memory / 1e6, full.memory / 1e6, PEER, "MB", None, False
        )
        yield Result(f"{share} time of a step", cost.seconds, full.seconds, PEER, "s", None, False)


def costs() -> list[Cost]:
    """Full fine-tuning, LoRA and DoRA; their steps take turns."""
    settings = {
        name: AdapterSettings(**read_yaml(ROOT / "configs" / "adapters" / f"{name}.yaml"))
        for name in ("lora", "dora")
    }
    forms: list[tuple[str, AdapterSettings | None]] = [(PEER, None), *settings.items()]
    steps = [_step(_stage("cpu", form)) for _, form in forms]
    seconds: list[list[float]] = [[] for _ in steps]
    for number, (times, step) in itertools.product(range(STEPS + 1), zip(seconds, steps, strict=True)):
        start = time.process_time()
        step()
        if number:  # The first step allocates memory.
            times.append(time.process_time() - start)
    return [
        Cost(name, *_parameters_and_memory(_stage("meta", form)), statistics.median(times))
        for (name, form), times in zip(forms, seconds, strict=True)
    ]


def _stage(device: str, settings: AdapterSettings | None) -> Stage:
    with torch.device(device):
        torch.manual_seed(0)
        stage = build_stage(read_config(ROOT / "pretrained" / "spectrogram_generator"))
    if settings is not None:
        attach(stage.network, settings)
    return stage


def _step(stage: Stage) -> Callable[[], None]:
    """A function that runs one training step on noise."""
    network, length = stage.network, round(stage.seconds * stage.output_rate)
    optimizer, _ = stage.optimisation.build(network)
    x0, noise, t = torch.randn(CLIPS, 80, length), torch.randn(CLIPS, 80, length), torch.rand(CLIPS)
    text = torch.randn(CLIPS, 16, network.text_channels or 1)
    conditions = Conditions().with_text(text, torch.ones(text.shape[:2], dtype=torch.bool))

    def step() -> None:
        predict = functools.partial(network, conditions=conditions)
        stage.objective.loss(predict, x0, t, noise).weighted.mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _parameters_and_memory(stage: Stage) -> tuple[int, int]:
    parameters = list(stage.network.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    whole = sum(p.numel() for p in parameters)
    # Weights once; gradient, two moments and the average of what is trained. Four bytes each.
    states = 4 * (whole + 4 * trained)
    activations = step_cost(stage, mixed=False).activations
    return trained, states + activations.fixed + CLIPS * activations.per_clip


def main() -> None:
    """Print the table."""
    found = costs()
    whole = found[0].trained
    print("| training | trained parameters | memory of a step | time of a step |")
    print("|---|---|---|---|")
    for cost in found:
        trained = f"{cost.trained:,} ({cost.trained / whole:.1%})"
        print(f"| {cost.name} | {trained} | {cost.memory / 1e6:.0f} MB | {cost.seconds:.2f} s |")


if __name__ == "__main__":
    main()
