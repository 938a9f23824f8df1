"""`python -m benchmarks.table4`: table 4 of the paper on this device, for any cascade.

Measures the time of one sampler step of each stage (with guidance, so two network evaluations for stages with
text) and multiplies it by the number of steps.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import torch

from benchmarks.device_setup import (
    ROUTES,
    TINY_SECONDS,
    build,
    default_device,
    median_seconds,
    random_inputs,
    stage_config,
)

# Milliseconds per step in table 4: four clips of 30 s on four TPU v4. The two cells of the vocoder are
# swapped there: figure 3 needs 299 ms per step.
PAPER_MS = {
    "waveform_generator": 25.0,
    "waveform_cascader": 75.0,
    "spectrogram_generator": 8.3,
    "spectrogram_vocoder": 299.0,
    "super_resolution": 71.7,
}


@dataclass(frozen=True)
class SamplingTime:
    """Sampling time of one stage.

    Args:
        stage: Name of the stage.
        milliseconds: Time of one sampler step for all clips.
        evaluations: Network evaluations of one step: 2 with guidance.
        steps: Number of steps.
        seconds_per_clip: Time of all steps, divided by the number of clips.
    """

    stage: str
    milliseconds: float
    evaluations: int
    steps: int
    seconds_per_clip: float


def sampling_time(
    name: str,
    recipes: str = "paper",
    device: str = "cpu",
    clips: int = 1,
    seconds: float = 30.0,
    rounds: int = 3,
    bf16: bool = True,
    tiny: bool = False,
) -> SamplingTime:
    """Measure one stage with random weights.

    Args:
        name: Name of the stage.
        recipes: Folder of ``configs`` that holds its recipe.
        device: ``cpu`` or ``cuda``.
        clips: Clips at once.
        seconds: Length of a clip.
        rounds: Number of measured steps; the median counts.
        bf16: Autocast to bfloat16.
        tiny: Shrink network and clip, for tests.
    """
    stage = build(stage_config(name, recipes, tiny), device).eval().requires_grad_(False)
    inputs = random_inputs(stage, clips, TINY_SECONDS if tiny else seconds, training=False)
    unconditional = inputs.conditions.drop_text()
    sampling = stage.sampling
    autocast = torch.autocast(device, torch.bfloat16) if bf16 else nullcontext()

    def step() -> object:
        return stage._denoise(inputs.noise, 0.5, conditions=inputs.conditions, unconditional=unconditional)

    with torch.no_grad(), autocast:
        milliseconds = 1000 * median_seconds(step, device, warmup=1, rounds=rounds)
    steps = len(sampling.times()) - 1
    is_guided = stage.text is not None and sampling.guidance.acts_at(0.5)
    return SamplingTime(
        stage=name,
        milliseconds=milliseconds,
        evaluations=2 if is_guided else 1,
        steps=steps,
        seconds_per_clip=milliseconds * steps / 1000 / clips,
    )


def table(rows: Iterable[SamplingTime], clips: int) -> str:
    """The measured rows beside those of the paper."""
    lines = [f"{'stage':<24}{'ms/step':>10}{'evaluations':>13}{'steps':>7}{'s/clip':>10}{'paper s/clip':>14}"]
    for row in rows:
        paper = PAPER_MS[row.stage] * row.steps / 1000 / 4
        lines.append(
            f"{row.stage:<24}{row.milliseconds:>10.1f}{row.evaluations:>13}{row.steps:>7}"
            f"{row.seconds_per_clip:>10.2f}{paper:>14.2f}"
        )
    lines.append(f"{clips} clip(s) of 30 s at once; the paper: 4 clips on four TPU v4.")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Measure a cascade and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table4", description=__doc__.splitlines()[0])
    parser.add_argument("--route", choices=[*ROUTES, "all"], default="all")
    parser.add_argument("--recipes", choices=["paper", "starter"], default="paper")
    parser.add_argument("--device", default=default_device(), help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=1, help="clips at once (default: 1)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a clip (default: 30)")
    parser.add_argument("--rounds", type=int, default=3, help="measured steps (default: 3)")
    parser.add_argument("--fp32", action="store_true", help="no bfloat16")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to try the command")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    routes = ROUTES.values() if options.route == "all" else [ROUTES[options.route]]
    names = dict.fromkeys(name for route in routes for name in route)
    rows = []
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows.append(
            sampling_time(
                name,
                recipes=options.recipes,
                device=options.device,
                clips=options.clips,
                seconds=options.seconds,
                rounds=options.rounds,
                bf16=not options.fp32,
                tiny=options.tiny,
            )
        )
    print(json.dumps([asdict(row) for row in rows], indent=1) if options.json else table(rows, options.clips))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
