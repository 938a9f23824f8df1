"""The plan of a training before its bill: parameters, operations, memory on each GPU, data and GPU-days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.conditioning.text_models import encoder_size
from lightning_n2m.errors import InputError
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import build_stage
from lightning_n2m.stages.sharding import UNITS
from lightning_n2m.stages.training_cost import step_cost

# Peak of dense 16-bit matrix operations in 10^12 a second, and memory in 10^9 bytes, as the makers publish.
GPUS = {
    "v100": (125.0, 32.0),
    "t4": (65.0, 16.0),
    "a10": (125.0, 24.0),
    "l4": (121.0, 24.0),
    "l40s": (362.0, 48.0),
    "rtx3090": (71.0, 24.0),
    "rtx4090": (165.0, 24.0),
    "a100-40": (312.0, 40.0),
    "a100": (312.0, 80.0),
    "h100": (989.0, 80.0),
    "h200": (989.0, 141.0),
    "b200": (2250.0, 180.0),
    "mi300x": (1307.0, 192.0),
}
STATE_BYTES = 20  # of a parameter: weight, gradient, two moments of Adam, average, in 32 bits each
DAY = 86_400
KEPT_FREE = 0.1  # of a GPU's memory, for workspaces and fragments


@dataclass(frozen=True)
class Memory:
    """Memory of one GPU in bytes.

    Args:
        state: Weights, gradients, moments and average that lie here for good.
        gathered: Weights and gradients of what is unsharded for the moment.
        text_encoder: The frozen language model.
        activations: Of one batch, with 16-bit copies of the weights.
        total: All of it.
        largest_batch: Clips that fit at once.
        largest_batch_checkpointed: The same where activations are recomputed.
    """

    state: float
    gathered: float
    text_encoder: float
    activations: float
    total: float
    largest_batch: int
    largest_batch_checkpointed: int


@dataclass(frozen=True)
class TrainingPlan:
    """What `plan` found; numbers of clips are of all GPUs unless said otherwise."""

    stage: str
    gpu: str
    gpus: int
    utilisation: float
    gpu_memory: float
    parameters: dict[str, int]
    flops_of_a_clip: dict[str, int]
    recomputed_flops_of_a_clip: int
    text_encoder_parameters: int | None
    text_encoder_flops_of_a_clip: int
    batch_of_a_gpu: int
    accumulated: int
    clips_of_a_step: int
    flops_of_a_step: int
    ddp: Memory
    fsdp: Memory
    seconds_of_a_step: float
    clips_a_day: float
    audio_hours_a_day: float
    text_tokens_a_day: float
    steps: int
    days: float
    gpu_days: float


def plan(config: dict[str, Any], gpus: int, gpu: str, utilisation: float) -> TrainingPlan:
    """Count what a training would need, on the ``meta`` device.

    Args:
        config: What ``fit`` would be given.
        gpus: Number of GPUs.
        gpu: Kind of GPU, one of `GPUS`.
        utilisation: Share of the GPU's peak that training reaches.

    Raises:
        InputError: if the GPU is not known, the batch cannot be dealt, or no diffusion stage is trained.
    """
    if gpu not in GPUS:
        raise InputError(f"--gpu {gpu} is not known; choose from {', '.join(GPUS)}.")
    if gpus < 1 or not 0 < utilisation <= 1:
        raise InputError("--gpus must be at least 1, and --utilisation above 0 and at most 1.")
    if ".stages." not in config["model"]["class_path"]:
        raise InputError(f"plan knows the diffusion stages, not {config['model']['class_path']}.")
    peak, memory = GPUS[gpu][0] * 1e12, GPUS[gpu][1] * 1e9
    with torch.device("meta"):
        stage = build_stage(config["model"])
    data, trainer = config["data"]["init_args"], config["trainer"]
    batch = data["batch_size"]
    effective = data.get("effective_batch") or batch * gpus * trainer["accumulate_grad_batches"]
    if effective % (batch * gpus):
        raise InputError(
            f"data.effective_batch is {effective}, no multiple of the {batch * gpus} clips of "
            f"data.batch_size {batch} on {gpus} GPUs; choose a multiple."
        )
    mixed = str(trainer["precision"]) in ("bf16-mixed", "16-mixed")
    cost = step_cost(stage, mixed)
    checkpointed = stage.network.checkpointing
    text_all, text_flops = _text(stage.text)
    text_bytes = (text_all or 0) * (2 if stage.text and stage.text.dtype == "bfloat16" else 4)
    clip = sum(cost.flops.values()) + (cost.recomputed_flops if checkpointed else 0) + text_flops
    state = STATE_BYTES * sum(cost.parameters.values())

    def memory_of(state: float, gathered: float) -> Memory:
        chosen = cost.checkpointed if checkpointed else cost.living
        activations = chosen.fixed + batch * chosen.per_clip
        free = memory * (1 - KEPT_FREE) - state - gathered - text_bytes
        return Memory(
            state,
            gathered,
            text_bytes,
            activations,
            state + gathered + text_bytes + activations,
            *(max(0, int((free - kind.fixed) // kind.per_clip)) for kind in (cost.living, cost.checkpointed)),
        )

    seconds = clip * effective / (gpus * peak * utilisation)
    a_day = effective * DAY / seconds
    steps = max(0, trainer["max_steps"])
    return TrainingPlan(
        stage=type(stage).__name__,
        gpu=gpu,
        gpus=gpus,
        utilisation=utilisation,
        gpu_memory=memory,
        parameters=cost.parameters,
        flops_of_a_clip=cost.flops,
        recomputed_flops_of_a_clip=cost.recomputed_flops if checkpointed else 0,
        text_encoder_parameters=text_all,
        text_encoder_flops_of_a_clip=text_flops,
        batch_of_a_gpu=batch,
        accumulated=effective // (batch * gpus),
        clips_of_a_step=effective,
        flops_of_a_step=clip * effective,
        ddp=memory_of(state, 0),
        fsdp=memory_of(state / gpus, _gathered(stage)),
        seconds_of_a_step=seconds,
        clips_a_day=a_day,
        audio_hours_a_day=a_day * stage.seconds / 3600,
        text_tokens_a_day=a_day * (stage.text.max_tokens if stage.text else 0),
        steps=steps,
        days=steps * seconds / DAY,
        gpu_days=steps * seconds / DAY * gpus,
    )


def _text(text: TextEncoder | None) -> tuple[int | None, int]:
    """Parameters of the text encoder, and operations for one clip (two a parameter and token)."""
    size = encoder_size(text.model) if text is not None else (0, 0)
    if size is None:
        return None, 0
    return size[0], 2 * size[1] * (text.max_tokens if text is not None else 0)


def _gathered(stage: Stage) -> float:
    """Bytes of what FSDP holds unsharded: the rest, and two units, with weight and gradient."""
    units = [
        sum(parameter.numel() for parameter in module.parameters())
        for module in stage.network.modules()
        if isinstance(module, UNITS)
    ]
    rest = sum(parameter.numel() for parameter in stage.network.parameters()) - sum(units)
    return (rest + 2 * max(units)) * (4 + 4)


def table(found: TrainingPlan) -> str:
    """The plan as text."""
    giga = 1e9
    parameters, flops = sum(found.parameters.values()), sum(found.flops_of_a_clip.values())
    lines = [f"{found.stage} on {found.gpus} x {found.gpu}, at {found.utilisation:.0%} of its peak", ""]
    lines += [f"{'network':<32}{'parameters':>12}{'GFLOP a clip':>14}"]
    for part, number in found.parameters.items():
        lines += [f"  {part:<30}{number / 1e6:>10.1f} M{found.flops_of_a_clip[part] / giga:>14.1f}"]
    lines += [f"  {'in all':<30}{parameters / 1e6:>10.1f} M{flops / giga:>14.1f}"]
    if found.recomputed_flops_of_a_clip:
        lines += [f"  {'recomputed':<30}{'':>12}{found.recomputed_flops_of_a_clip / giga:>14.1f}"]
    if found.text_encoder_parameters is None:
        lines += ["  the text encoder is not at hand, and not counted"]
    elif found.text_encoder_parameters:
        number, work = found.text_encoder_parameters, found.text_encoder_flops_of_a_clip
        lines += [f"  {'frozen text encoder':<30}{number / 1e6:>10.1f} M{work / giga:>14.1f}"]
    lines += ["", f"{'memory of one GPU, GB':<32}{'DDP':>12}{'FSDP':>14}"]
    for label, name in (
        ("weights, gradients, Adam, average", "state"),
        ("gathered for the moment", "gathered"),
        ("frozen text encoder", "text_encoder"),
        (f"activations of {found.batch_of_a_gpu} clips", "activations"),
        (f"in all, of {found.gpu_memory / giga:.0f}", "total"),
    ):
        ddp, fsdp = getattr(found.ddp, name) / giga, getattr(found.fsdp, name) / giga
        lines += [f"  {label:<34}{ddp:>8.1f}{fsdp:>14.1f}"]
    for label, name in (
        ("clips that fit at once", "largest_batch"),
        ("  with activation checkpointing", "largest_batch_checkpointed"),
    ):
        lines += [f"  {label:<34}{getattr(found.ddp, name):>8}{getattr(found.fsdp, name):>14}"]
    lines += [
        "",
        f"a step: {found.clips_of_a_step} clips ({found.gpus} GPUs x {found.batch_of_a_gpu} clips x "
        f"{found.accumulated} accumulated), {found.flops_of_a_step / 1e15:.3g} PFLOP, "
        f"{found.seconds_of_a_step:.3g} s",
        f"a day: {found.clips_a_day / 1e6:.3g} M clips, {found.audio_hours_a_day:,.0f} h of audio, "
        f"{found.text_tokens_a_day / 1e6:,.0f} M text tokens",
        f"{found.steps:,} steps: {found.days:.3g} days, {found.gpu_days:,.0f} GPU-days",
    ]
    return "\n".join(lines)
