"""A training step of the U-Net beside other people's, and beside what the machine can multiply.

Each peer meets a U-Net of ours with as many parameters and operations, counted in the run.

Where a step of `SMALL` takes its time, ``python -m benchmarks.unet`` prints by operator. On two cores with
AMX, on 2026-11-27, in bf16, 308 ms under the profiler: convolutions and products 121 ms, of which the
gradients of convolutions 68; group norms, scaled and shifted, 79 in both directions; copies 21, of weights
to 16 bits and of their gradients back. What is not a convolution or a product is three fifths of the step,
and a third of it with AVX512-BF16 (on 2026-11-26, 517 ms, of which convolutions and products 342), for AMX
multiplies six times as fast, and the rest is no faster than it was. So do the passes fall behind the plain
product: the paper's networks reach 0.33 and 0.26 of 2,400 and 2,100 GFLOP/s, where they reached 0.94 and
0.76 of 375, at about half of the speed. Adam took 26 ms before `fit` and this step had its fused form,
which is no longer among the first 25 operators. `network.compile()`, which joins the passes, was slower
when last tried.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

import yaml

from benchmarks.music import ROOT
from benchmarks.network import Process, Settings
from benchmarks.peers import environment
from benchmarks.result import Result

ROUNDS = 5
TOLERANCE = 0.1  # by which two networks may differ in parameters and in operations

_SHARED = {"channels": 1, "cross_attention": [False] * 4, "self_attention": [False, False, False, True]}
SMALL = Settings(
    "ours",
    {
        **_SHARED,
        "base_channels": 32,
        "multipliers": [2, 4, 8, 16],
        "strides": [4, 4, 4, 2],
        "blocks": [1, 1, 2, 2],
        "kernel_size": 3,
    },
)
# More work at the rate of the audio, as the peer that halves its rate six times has.
FINE = Settings(
    "ours",
    {
        **_SHARED,
        "base_channels": 64,
        "multipliers": [1, 2, 4, 6],
        "strides": [2, 4, 4, 2],
        "blocks": [2, 2, 2, 2],
        "kernel_size": 5,
    },
)
UNET_V0 = Settings(
    "audio-diffusion-pytorch",
    {
        "in_channels": 1,
        "channels": [64, 96, 256, 416],
        "factors": [4, 4, 4, 2],
        "items": [1, 2, 2, 2],
        "attentions": [0, 0, 0, 1],
        "attention_heads": 8,
        "attention_features": 64,
        "modulation_features": 128,
    },
)
STABLE_AUDIO = Settings(
    "stable-audio-tools",
    {
        "in_channels": 1,
        "channels": 64,
        "multipliers": [1, 1, 2, 3, 5],
        "factors": [4, 4, 4, 2],
        "num_blocks": [1, 1, 2, 2],
        "attentions": [0, 0, 0, 0, 1],
        "attention_heads": 8,
        "attention_multiplier": 2,
        "attention_features": 64,
    },
)
# The network of Dance Diffusion, which stable-audio-tools has too, as DiffusionAttnUnet1D.
DIFFUSERS = Settings(
    "diffusers",
    {
        "in_channels": 1,
        "out_channels": 1,
        "extra_in_channels": 64,
        "block_out_channels": [32, 32, 64, 64, 128, 128, 256],
        "down_block_types": ["DownBlock1DNoSkip", *["DownBlock1D"] * 5, "AttnDownBlock1D"],
        "up_block_types": ["AttnUpBlock1D", *["UpBlock1D"] * 5, "UpBlock1DNoSkip"],
    },
)
PEERS = (
    ("audio-diffusion-pytorch 0.1.3 UNetV0", UNET_V0, SMALL),
    ("stable-audio-tools 0.0.19 adp.UNet1d", STABLE_AUDIO, SMALL),
    ("diffusers 0.42.1 UNet1DModel", DIFFUSERS, FINE),
)
# Recipes, and the clips of a step: of the starter's the recipe's own, of the paper's what two cores bear.
RECIPES = (
    ("starter/waveform_generator", None),
    ("starter/super_resolution", None),
    ("paper/super_resolution", 1),
    ("paper/waveform_cascader", 1),
)


def measure() -> Iterable[Result]:
    for bf16 in (True, False):
        yield from _beside_peers(bf16)
    for recipe, clips in RECIPES:
        yield _beside_matmul(recipe, clips)


def _beside_peers(bf16: bool) -> Iterable[Result]:
    theirs, own = environment(), (SMALL, FINE)
    settings = [*own, *(peer for _, peer, _ in PEERS)]
    found = _in_turns(
        [dataclasses.replace(one, bf16=bf16) for one in settings],
        [sys.executable] * len(own) + [str(theirs)] * len(PEERS),
    )
    precision = "bf16" if bf16 else "fp32"
    for (name, _, match), (counted, rate) in zip(PEERS, found[len(own) :], strict=True):
        our_count, our_rate = found[own.index(match)]
        for key, number in counted.items():
            apart = our_count[key] / number - 1
            print(f"unet: {key} {our_count[key]:.4g}, {name} {number:.4g} ({apart:+.1%})", file=sys.stderr)
            if abs(apart) > TOLERANCE:
                raise RuntimeError(f"{name} is no match: its {key} differ by {apart:.0%}")
        yield Result(
            f"unet: training step, {match.batch} clips of {match.length:,} samples, {precision}",
            our_rate,
            rate,
            name,
            "clips/s",
            target=1.3,
        )


def _in_turns(settings: Sequence[Settings], pythons: Sequence[str]) -> list[tuple[dict[str, int], float]]:
    """What each network counts, and its clips a second."""
    processes = [Process(python, one) for python, one in zip(pythons, settings, strict=True)]
    took: list[list[float]] = [[] for _ in processes]
    for _ in range(1 + ROUNDS):
        for process, seconds in zip(processes, took, strict=True):
            seconds.append(process()["step"])
    for process in processes:
        process.close()
    return [
        (process.counted, one.batch / statistics.median(seconds[1:]))
        for process, one, seconds in zip(processes, settings, took, strict=True)
    ]


def _beside_matmul(recipe: str, clips: int | None) -> Result:
    """Operations a second of the two passes through the network of a recipe, and of a plain product."""
    config = yaml.safe_load((ROOT / "configs" / f"{recipe}.yaml").read_text())
    settings = _of_recipe(config, clips)
    network, product = Process(sys.executable, settings), Process(sys.executable, Settings("matmul"))
    passes, products = [], []
    for _ in range(1 + ROUNDS):
        passes.append(network()["passes"])
        products.append(product()["flops"])
    network.close()
    product.close()
    speed = settings.batch * network.counted["flops"] / statistics.median(passes[1:])
    what = f"{recipe}, {settings.batch} clips" if settings.batch > 1 else f"{recipe}, 1 clip"
    return Result(
        f"unet: forward and backward pass of {what}, bf16",
        speed / 1e9,
        statistics.median(products[1:]) / 1e9,
        f"product of 4096 x 4096 matrices in PyTorch {version('torch').partition('+')[0]}",
        "GFLOP/s",
        target=0.75,
    )


def _of_recipe(config: dict[str, Any], clips: int | None) -> Settings:
    from lightning_n2m.stages.bundle import build_stage

    stage = config["model"]["init_args"]
    network = stage["network"]["init_args"]
    return Settings(
        "ours",
        network,
        length=round(stage["seconds"] * build_stage(config["model"]).output_rate),
        batch=clips or config["data"]["init_args"]["batch_size"],
    )


def profile(settings: Settings = SMALL) -> str:
    """Own time of the operators of a training step."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    from benchmarks.network import Trained

    trained = Trained(settings)
    for _ in range(3):
        trained.step()
    with record(activities=[ProfilerActivity.CPU]) as found:
        trained.step()
    return found.key_averages().table(sort_by="self_cpu_time_total", row_limit=25)


if __name__ == "__main__":
    print(profile())
