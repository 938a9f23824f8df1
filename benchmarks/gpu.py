"""`python -m benchmarks.gpu`: what this project does on one CUDA device, as a table and build/gpu.json.

Losses against the CPU, precision, compilation, DDP and FSDP2 at world size 1, the paper's networks as
training steps, table 4, custom against plain layers, and the loader. Each function also runs on the CPU at a
tiny size, so that the tests cover it. Neither network access nor a language model is needed: text vectors
are random.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from benchmarks.device_setup import ROOT, STAGES, Inputs, build, median_seconds, random_inputs, stage_config
from benchmarks.table4 import sampling_time
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.sharding import shard
from lightning_n2m.stages.stage_config import build_stage
from lightning_n2m.stages.training_cost import step_cost
from lightning_n2m.storage import write_atomic

RESULT = ROOT / "build" / "gpu.json"
Row = dict[str, Any]
# Dense 16-bit peak in 10^12 operations a second, by a part of the device's name.
PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0, "V100": 125.0}


def autocast(device: str, bf16: bool) -> Any:
    """Autocast to bfloat16, or nothing."""
    return torch.autocast(device.partition(":")[0], torch.bfloat16) if bf16 else nullcontext()


def loss_of(stage: Stage, network: nn.Module, inputs: Inputs) -> torch.Tensor:
    """Weighted loss of fixed inputs."""
    conditioned = functools.partial(network, conditions=inputs.conditions)
    return stage.objective.loss(conditioned, inputs.x0, inputs.times, inputs.noise).weighted.mean()


def losses(device: str, tiny: bool = False) -> list[Row]:
    """Loss and gradient norm of each starter stage in fp32 on the device against the CPU."""
    rows = []
    for name in STAGES:
        values = []
        for place in ("cpu", device):
            stage = build(stage_config(name, "starter", tiny), place)
            inputs = random_inputs(stage, 2, stage.seconds if tiny else min(stage.seconds, 4.0))
            loss = loss_of(stage, stage.network, inputs)
            loss.backward()
            values.append((float(loss), float(stage.gradient_norm())))
        (cpu_loss, cpu_norm), (loss_value, norm) = values
        rows.append(
            {
                "measurement": f"fp32 loss on the device and on the CPU: {name}",
                "loss": loss_value,
                "relative_loss_error": abs(loss_value - cpu_loss) / abs(cpu_loss),
                "relative_gradient_error": abs(norm - cpu_norm) / max(1e-12, cpu_norm),
            }
        )
    return rows


def modes(device: str, tiny: bool = False, compiles: bool = True) -> list[Row]:
    """Training step of the starter's super-resolution in fp32, bf16, compiled, under DDP and under FSDP2."""
    rows = []
    seconds = None if tiny else 4.0
    choices = ["fp32", "bf16", *(["bf16 compiled"] if compiles else []), "bf16 DDP", "bf16 FSDP2"]
    with OneRank(device):
        for mode in choices:
            stage = build(stage_config("super_resolution", "starter", tiny), device)
            inputs = random_inputs(stage, 2 if tiny else 8, seconds or stage.seconds)
            network: nn.Module = stage.network
            if "compiled" in mode:
                network.compile()
            elif "DDP" in mode:
                network = DistributedDataParallel(network)
            elif "FSDP2" in mode:
                shard(stage.network, init_device_mesh(device.partition(":")[0], (1,)))
            optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
            step = training_step(stage, network, inputs, optimizer, autocast(device, "bf16" in mode))
            first_loss = step()
            milliseconds = 1000 * median_seconds(step, device, warmup=2, rounds=5)
            rows.append(
                {
                    "measurement": f"training step, super-resolution starter: {mode}",
                    "milliseconds": milliseconds,
                    "first_loss": first_loss,
                }
            )
    return rows


def training_step(
    stage: Stage, network: nn.Module, inputs: Inputs, optimizer: torch.optim.Optimizer, cast: Any
) -> Callable[[], float]:
    """A function that makes one training step and returns the loss."""

    def step() -> float:
        with cast:
            loss = loss_of(stage, network, inputs)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


class OneRank:
    """A process group of this process alone.

    Args:
        device: Its device, which chooses the backend.
    """

    def __init__(self, device: str) -> None:
        self.backend = "nccl" if device.startswith("cuda") else "gloo"

    def __enter__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        store = dist.FileStore(os.path.join(self.folder.name, "store"), 1)
        dist.init_process_group(self.backend, store=store, rank=0, world_size=1)

    def __exit__(self, *_: object) -> None:
        dist.destroy_process_group()
        self.folder.cleanup()


def paper_training(
    device: str, tiny: bool = False, clips: int = 1, names: Sequence[str] = STAGES
) -> list[Row]:
    """Training steps of the paper's five networks: time, share of peak, and memory against ``plan``."""
    rows = []
    for name in names:
        config = stage_config(name, "paper", tiny)
        with torch.device("meta"):
            cost = step_cost(build_stage(config), mixed=True)
        stage = build(config, device)
        inputs = random_inputs(stage, clips, stage.seconds)
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        optimizer = torch.optim.Adam(
            stage.network.parameters(), lr=1e-4, fused=device.startswith("cuda") or None
        )
        step = training_step(stage, stage.network, inputs, optimizer, autocast(device, bf16=True))
        seconds = median_seconds(step, device, warmup=2, rounds=3)
        flops = clips * sum(cost.flops.values())
        # Weight, gradient and two Adam moments in fp32; this benchmark keeps no EMA.
        planned = (
            16 * sum(cost.parameters.values()) + cost.activations.fixed + clips * cost.activations.per_clip
        )
        row: Row = {
            "measurement": f"training step of the paper's {name}, {clips} clip(s), bf16",
            "milliseconds": 1000 * seconds,
            "tflops_per_second": flops / seconds / 1e12,
            "planned_gb": planned / 1e9,
        }
        if device.startswith("cuda"):
            row["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
            row["peak_over_plan"] = row["peak_gb"] / row["planned_gb"]
            if peak := device_peak():
                row["share_of_peak"] = row["tflops_per_second"] / peak
        rows.append(row)
        del stage, inputs, optimizer, step
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    return rows


def device_peak() -> float | None:
    """Peak of the CUDA device in 10^12 operations a second; none if it is not in the list."""
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def sampling(device: str, tiny: bool = False) -> list[Row]:
    """Table 4: time of one sampler step and of a clip of 30 s."""
    rows = []
    for name in STAGES:
        result = sampling_time(name, device=device, clips=1 if tiny else 4, tiny=tiny)
        rows.append(
            {
                "measurement": f"sampling, the paper's {name}",
                "milliseconds": result.milliseconds,
                "evaluations": result.evaluations,
                "seconds_per_clip": result.seconds_per_clip,
            }
        )
    return rows


def layers(device: str, tiny: bool = False) -> list[Row]:
    """Training step with the project's own layers against PyTorch's, in the same network."""
    from benchmarks.layers import KINDS

    config = stage_config("super_resolution", "starter", tiny)
    milliseconds = {}
    for kind in ("own", "plain"):
        stage = build(config, device)
        if kind == "plain":
            for plain in KINDS.values():
                for module in stage.network.modules():
                    if plain.forward is not None and isinstance(module, plain.layers):
                        module.forward = plain.forward(module)
        inputs = random_inputs(stage, 2 if tiny else 8, stage.seconds)
        optimizer = torch.optim.Adam(stage.network.parameters(), lr=1e-4)
        step = training_step(stage, stage.network, inputs, optimizer, autocast(device, bf16=True))
        milliseconds[kind] = 1000 * median_seconds(step, device, warmup=2, rounds=5)
    return [
        {
            "measurement": "own layers against plain PyTorch layers, super-resolution starter, bf16",
            "milliseconds": milliseconds["own"],
            "plain_milliseconds": milliseconds["plain"],
            "ratio": milliseconds["plain"] / milliseconds["own"],
        }
    ]


def loader(device: str, shards: str | None, batches: int = 20, workers: int = 4) -> list[Row]:
    """Clips per second that the training loader brings to the device; needs shards (``--shards``)."""
    if shards is None:
        return []
    from lightning_n2m.data.clip_decoder import ClipDecoder
    from lightning_n2m.data.data_loader import Loader
    from lightning_n2m.data.shard_sources import find_sources
    from lightning_n2m.data.training_stream import TrainingStream

    batch, rate, seconds = 8, 24_000, 4.096
    decoder = ClipDecoder(rate, seconds, None, 0, False, None)
    stream = TrainingStream(find_sources(shards, "train"), decoder, batch, num_workers=workers)
    source = iter(Loader(stream, batch_size=batch, num_workers=workers, pin_memory=device.startswith("cuda")))
    next(source)
    start = time.perf_counter()
    for _ in range(batches):
        next(source)["audio"].to(device, non_blocking=True)
    elapsed = time.perf_counter() - start
    return [
        {
            "measurement": f"loader to the device, {workers} workers, crops of {seconds} s at 24 kHz",
            "clips_per_second": batches * batch / elapsed,
        }
    ]


def table(rows: Sequence[Row]) -> str:
    """One line for each measurement."""
    lines = []
    for row in rows:
        values = [f"{key} {value:.4g}" for key, value in row.items() if isinstance(value, int | float)]
        text = ", ".join(values) or str(row.get("error", ""))
        lines.append(f"{row['measurement']}: {text}")
    return "\n".join(lines)


def run(device: str, shards: str | None) -> list[Row]:
    """All measurements; one that fails becomes a row with its error."""
    parts: list[tuple[str, Callable[[], list[Row]]]] = [
        ("losses", lambda: losses(device)),
        ("modes", lambda: modes(device)),
        ("paper_training", lambda: paper_training(device)),
        ("sampling", lambda: sampling(device)),
        ("layers", lambda: layers(device)),
        ("loader", lambda: loader(device, shards)),
    ]
    rows: list[Row] = []
    for name, measure_part in parts:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        try:
            rows += measure_part()
        except Exception as error:
            traceback.print_exc()
            rows.append({"measurement": name, "error": f"{type(error).__name__}: {error}"})
    return rows


def main(arguments: Sequence[str]) -> int:
    """Measure and write the results; ``--shards FOLDER`` adds the loader.

    Returns:
        0; 1 if a measurement failed.
    """
    if not torch.cuda.is_available():
        print("No CUDA device: nothing is measured. Run 'make gpu' on a machine with one.")
        return 0
    shards = arguments[1] if len(arguments) == 2 and arguments[0] == "--shards" else None
    start = time.perf_counter()
    rows = run("cuda", shards)
    record = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seconds": time.perf_counter() - start,
        "rows": rows,
    }
    output = Path(os.environ.get("OUT", RESULT.parent)) / RESULT.name
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(output, json.dumps(record, indent=1) + "\n")
    print(table(rows))
    print(f"Written to {output}.")
    return int(any("error" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
