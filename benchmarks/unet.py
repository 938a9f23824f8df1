"""A training step of the U-Net beside networks of other libraries, and beside a matrix product.

Each peer is compared with a U-Net of as many parameters and operations; both are counted in the run.

``python -m benchmarks.unet`` prints the time of each operator of a step of `SMALL`. On two cores with AMX, on
2026-11-27, in bf16, the step took 308 ms under the profiler: convolutions and matrix products 121 ms (of
which gradients of convolutions 68), group norms with scale and shift 79 in both directions, copies of weights
to 16 bits and of their gradients back 21. Operators other than convolutions and products take three fifths of
the step, and a third of it with AVX512-BF16 (on 2026-11-26: 517 ms, of which convolutions and products 342):
AMX multiplies six times as fast, and the other operators are no faster. The paper's networks therefore reach
0.33 and 0.26 of 2,400 and 2,100 GFLOP/s with AMX, and reached 0.94 and 0.76 of 375 GFLOP/s without.
`network.compile()`, which fuses operators, was slower.
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
TOLERANCE = 0.1  # relative difference of parameters and operations of two networks

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
# More operations at the rate of the audio, like the peer, which halves the rate six times.
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
# The network of Dance Diffusion; in stable-audio-tools it is DiffusionAttnUnet1D.
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
# Recipes, and the clips of a step: null for those of the recipe.
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
    peer_python, own = environment(), (SMALL, FINE)
    settings = [*own, *(peer for _, peer, _ in PEERS)]
    measured = _in_turns(
        [dataclasses.replace(one, bf16=bf16) for one in settings],
        [sys.executable] * len(own) + [str(peer_python)] * len(PEERS),
    )
    precision = "bf16" if bf16 else "fp32"
    for (name, _, match), (counted, rate) in zip(PEERS, measured[len(own) :], strict=True):
        own_count, own_rate = measured[own.index(match)]
        for key, number in counted.items():
            difference = own_count[key] / number - 1
            print(
                f"unet: {key} {own_count[key]:.4g}, {name} {number:.4g} ({difference:+.1%})", file=sys.stderr
            )
            if abs(difference) > TOLERANCE:
                raise RuntimeError(f"{name} is no match: its {key} differ by {difference:.0%}")
        yield Result(
            f"unet: training step, {match.batch} clips of {match.length:,} samples, {precision}",
            own_rate,
            rate,
            name,
            "clips/s",
            target=1.3,
        )


def _in_turns(settings: Sequence[Settings], pythons: Sequence[str]) -> list[tuple[dict[str, int], float]]:
    """Parameters and operations of each network, and its clips per second."""
    processes = [Process(python, one) for python, one in zip(pythons, settings, strict=True)]
    times: list[list[float]] = [[] for _ in processes]
    for _ in range(1 + ROUNDS):
        for process, seconds in zip(processes, times, strict=True):
            seconds.append(process()["step"])
    for process in processes:
        process.close()
    return [
        (process.counted, one.batch / statistics.median(seconds[1:]))
        for process, one, seconds in zip(processes, settings, times, strict=True)
    ]


def _beside_matmul(recipe: str, clips: int | None) -> Result:
    """Operations per second of a forward and backward pass of a recipe's network, and of a matrix product."""
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
    name = f"{recipe}, {settings.batch} clips" if settings.batch > 1 else f"{recipe}, 1 clip"
    return Result(
        f"unet: forward and backward pass of {name}, bf16",
        speed / 1e9,
        statistics.median(products[1:]) / 1e9,
        f"product of 4096 x 4096 matrices in PyTorch {version('torch').partition('+')[0]}",
        "GFLOP/s",
        target=0.75,
    )


def _of_recipe(config: dict[str, Any], clips: int | None) -> Settings:
    from lightning_n2m.stages.stage_config import build_stage

    stage = config["model"]["init_args"]
    network = stage["network"]["init_args"]
    return Settings(
        "ours",
        network,
        length=round(stage["seconds"] * build_stage(config["model"]).output_rate),
        batch=clips or config["data"]["init_args"]["batch_size"],
    )


def profile(settings: Settings = SMALL) -> str:
    """Self time of the operators of a training step."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    from benchmarks.network import Trained

    trained = Trained(settings)
    for _ in range(3):
        trained.step()
    with record(activities=[ProfilerActivity.CPU]) as recorded:
        trained.step()
    return recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=25)


if __name__ == "__main__":
    print(profile())
