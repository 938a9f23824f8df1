"""Plan of a training before it runs: parameters, operations, memory of each GPU, data and GPU-days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.conditioning.text_models import encoder_size
from lightning_n2m.errors import InputError
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.sharding import UNITS
from lightning_n2m.stages.stage_config import build_stage
from lightning_n2m.stages.training_cost import ActivationMemory, step_cost

# Peak of dense 16-bit matrix operations in 10^12 per second, and memory in 10^9 bytes, as the makers publish.
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
# Bytes of training state for each parameter: weight, gradient, two Adam moments and EMA, in 32 bits each.
STATE_BYTES = 20
SECONDS_PER_DAY = 86_400
WEIGHT_BYTES = 4  # of one weight of a frozen teacher
# Share of a GPU's memory that is kept free for workspaces and fragmentation.
MEMORY_RESERVE = 0.1
# Bytes of one number of a precomputed text vector (bfloat16).
TEXT_VECTOR_BYTES = 2


@dataclass(frozen=True)
class Memory:
    """Memory of one GPU in bytes.

    Args:
        state: Weights, gradients, Adam moments and EMA that this GPU stores.
        gathered: Weights and gradients that FSDP has gathered at one time.
        text_encoder: The frozen language model; 0 for precomputed text vectors.
        teacher: The frozen teacher of a distillation, which is never sharded.
        activations: Activations of one batch, with 16-bit copies of the weights.
        total: Sum of the above.
        largest_batch: Clips that fit at once.
        largest_batch_checkpointed: The same with activation checkpointing.
    """

    state: float
    gathered: float
    text_encoder: float
    teacher: float
    activations: float
    total: float
    largest_batch: int
    largest_batch_checkpointed: int


@dataclass(frozen=True)
class TextCost:
    """Cost of the frozen text encoder.

    Args:
        parameters: Parameters of the encoder; null if its size is unknown, 0 without text.
        flops_per_clip: Operations for one caption.
        share: Share of all operations of the training when text is encoded in each step.
        gpu_days_on_the_fly: GPU-days of the whole training if text is encoded in each step.
        gpu_days_precomputed: GPU-days of the whole training if the text vectors are computed ahead.
        vector_bytes: Bytes of the precomputed vectors of one caption of full length, in bfloat16.
    """

    parameters: int | None
    flops_per_clip: int
    share: float
    gpu_days_on_the_fly: float
    gpu_days_precomputed: float
    vector_bytes: int


@dataclass(frozen=True)
class TrainingPlan:
    """Result of `plan`; numbers of clips are totals over all GPUs unless the name says otherwise."""

    stage: str
    gpu: str
    gpus: int
    utilisation: float
    gpu_memory: float
    parameters: dict[str, int]
    flops_per_clip: dict[str, int]
    recomputed_flops_per_clip: int
    distillation_flops_per_clip: int
    text: TextCost
    batch_per_gpu: int
    accumulation: int
    clips_per_step: int
    flops_per_step: int
    ddp: Memory
    fsdp: Memory
    ddp_precomputed_text: Memory
    fsdp_precomputed_text: Memory
    seconds_per_step: float
    clips_per_day: float
    audio_hours_per_day: float
    text_tokens_per_day: float
    steps: int
    days: float
    gpu_days: float


def plan(config: dict[str, Any], gpus: int, gpu: str, utilisation: float) -> TrainingPlan:
    """Count what a training needs, on the ``meta`` device.

    Args:
        config: The config that ``fit`` would get.
        gpus: Number of GPUs.
        gpu: Kind of GPU, one of `GPUS`.
        utilisation: Share of the GPU's peak that training reaches.

    Raises:
        InputError: if the GPU is unknown, the batch cannot be divided among the GPUs, or the config trains
            no diffusion stage.
    """
    if gpu not in GPUS:
        raise InputError(f"--gpu {gpu} is not known; choose from {', '.join(GPUS)}.")
    if gpus < 1 or not 0 < utilisation <= 1:
        raise InputError("--gpus must be at least 1, and --utilisation above 0 and at most 1.")
    if ".stages." not in config["model"]["class_path"]:
        raise InputError(f"plan knows the diffusion stages, not {config['model']['class_path']}.")
    peak_flops, gpu_memory = GPUS[gpu][0] * 1e12, GPUS[gpu][1] * 1e9
    with torch.device("meta"):
        stage = build_stage(config["model"])

    # Clips of one optimiser step.
    data, trainer = config["data"]["init_args"], config["trainer"]
    batch = data["batch_size"]
    clips_per_step = data.get("effective_batch") or batch * gpus * trainer["accumulate_grad_batches"]
    if clips_per_step % (batch * gpus):
        raise InputError(
            f"data.effective_batch is {clips_per_step}, no multiple of the {batch * gpus} clips of "
            f"data.batch_size {batch} on {gpus} GPUs; choose a multiple."
        )

    # Operations of one clip: the network, what checkpointing recomputes, and the text encoder.
    is_mixed = str(trainer["precision"]) in ("bf16-mixed", "16-mixed")
    cost = step_cost(stage, is_mixed)
    is_checkpointed = stage.network.checkpointing
    distillation = stage.distillation
    # A clip of a distillation trains the student on several steps.
    passes = 1 if distillation is None else distillation.pairs
    flops = {part: passes * number for part, number in cost.flops.items()}
    recomputed_flops = passes * cost.recomputed_flops if is_checkpointed else 0
    distillation_flops = _distillation_flops(stage, cost.forward_flops)
    network_flops = sum(flops.values()) + recomputed_flops + distillation_flops
    text_parameters, text_flops = _text_encoder(stage.text)
    clip_flops = network_flops + text_flops

    # Memory of one GPU, under DDP and FSDP, with the text encoder on the GPU and without it.
    text_bytes = (text_parameters or 0) * (2 if stage.text and stage.text.dtype == "bfloat16" else 4)
    state = STATE_BYTES * sum(cost.parameters.values())
    teacher_bytes = 0 if distillation is None else WEIGHT_BYTES * sum(cost.parameters.values())

    def memory_of(state: float, gathered: float, text_bytes: float) -> Memory:
        activations = cost.checkpointed_activations if is_checkpointed else cost.activations
        batch_bytes = activations.fixed + batch * passes * activations.per_clip
        fixed = state + gathered + text_bytes + teacher_bytes
        free = gpu_memory * (1 - MEMORY_RESERVE) - fixed
        return Memory(
            state=state,
            gathered=gathered,
            text_encoder=text_bytes,
            teacher=teacher_bytes,
            activations=batch_bytes,
            total=fixed + batch_bytes,
            largest_batch=_largest_batch(free, cost.activations) // passes,
            largest_batch_checkpointed=_largest_batch(free, cost.checkpointed_activations) // passes,
        )

    # Time at the given utilisation.
    steps = max(0, trainer["max_steps"])
    seconds = clip_flops * clips_per_step / (gpus * peak_flops * utilisation)
    clips_per_day = clips_per_step * SECONDS_PER_DAY / seconds
    gpu_days = steps * seconds / SECONDS_PER_DAY * gpus
    tokens = stage.text.max_tokens if stage.text else 0
    gathered = _gathered_bytes(stage)
    return TrainingPlan(
        stage=type(stage).__name__,
        gpu=gpu,
        gpus=gpus,
        utilisation=utilisation,
        gpu_memory=gpu_memory,
        parameters=cost.parameters,
        flops_per_clip=flops,
        recomputed_flops_per_clip=recomputed_flops,
        distillation_flops_per_clip=distillation_flops,
        text=TextCost(
            parameters=text_parameters,
            flops_per_clip=text_flops,
            share=text_flops / clip_flops,
            gpu_days_on_the_fly=gpu_days,
            gpu_days_precomputed=gpu_days * network_flops / clip_flops,
            vector_bytes=tokens * (stage.network.text_channels or 0) * TEXT_VECTOR_BYTES,
        ),
        batch_per_gpu=batch,
        accumulation=clips_per_step // (batch * gpus),
        clips_per_step=clips_per_step,
        flops_per_step=clip_flops * clips_per_step,
        ddp=memory_of(state, 0, text_bytes),
        fsdp=memory_of(state / gpus, gathered, text_bytes),
        ddp_precomputed_text=memory_of(state, 0, 0),
        fsdp_precomputed_text=memory_of(state / gpus, gathered, 0),
        seconds_per_step=seconds,
        clips_per_day=clips_per_day,
        audio_hours_per_day=clips_per_day * stage.seconds / 3600,
        text_tokens_per_day=clips_per_day * tokens,
        steps=steps,
        days=steps * seconds / SECONDS_PER_DAY,
        gpu_days=gpu_days,
    )


def _distillation_flops(stage: Stage, forward_flops: int) -> int:
    """Operations of the passes of teacher and student without a backward pass, for one clip."""
    if stage.distillation is None:
        return 0
    # The teacher's guidance is not known here: a stage with text is taken to have it.
    teacher_passes = stage.distillation.teacher_passes(is_guided=stage.text is not None)
    return (teacher_passes + stage.distillation.student_passes()) * forward_flops


def _largest_batch(free: float, activations: ActivationMemory) -> int:
    """Clips whose activations fit into the free bytes."""
    return max(0, int((free - activations.fixed) // activations.per_clip))


def _text_encoder(text: TextEncoder | None) -> tuple[int | None, int]:
    """Parameters of the text encoder, and operations for one caption (two for each parameter and token)."""
    if text is None:
        return 0, 0
    size = encoder_size(text.model)
    if size is None:
        return None, 0
    return size[0], 2 * size[1] * text.max_tokens


def _gathered_bytes(stage: Stage) -> float:
    """Bytes that FSDP holds unsharded at one time, weights and gradients in 32 bits.

    These are the parameters outside of all units, and two units: the current one and the prefetched one.
    """
    units = [
        sum(parameter.numel() for parameter in module.parameters())
        for module in stage.network.modules()
        if isinstance(module, UNITS)
    ]
    rest = sum(parameter.numel() for parameter in stage.network.parameters()) - sum(units)
    return (rest + 2 * max(units)) * (4 + 4)


def table(result: TrainingPlan) -> str:
    """The plan as text of at most 80 columns."""
    title = f"{result.stage} on {result.gpus} x {result.gpu}, at {result.utilisation:.0%} of its peak"
    return "\n".join([title, "", *_network_rows(result), "", *_memory_rows(result), "", *_time_rows(result)])


def _network_rows(result: TrainingPlan) -> list[str]:
    """Parameters and operations by part of the network, and of the text encoder."""
    giga = 1e9
    parameters, flops = sum(result.parameters.values()), sum(result.flops_per_clip.values())
    lines = [f"{'network':<32}{'parameters':>12}{'GFLOP per clip':>16}"]
    for part, number in result.parameters.items():
        lines += [f"  {part:<30}{number / 1e6:>10.1f} M{result.flops_per_clip[part] / giga:>16.1f}"]
    lines += [f"  {'total':<30}{parameters / 1e6:>10.1f} M{flops / giga:>16.1f}"]
    if result.recomputed_flops_per_clip:
        lines += [f"  {'recomputed':<30}{'':>12}{result.recomputed_flops_per_clip / giga:>16.1f}"]
    if result.distillation_flops_per_clip:
        lines += [f"  {'teacher and targets':<30}{'':>12}{result.distillation_flops_per_clip / giga:>16.1f}"]
    text = result.text
    if text.parameters is None:
        lines += ["  the size of the text encoder is unknown, and not counted"]
    elif text.parameters:
        count, work = text.parameters / 1e6, text.flops_per_clip / giga
        lines += [f"  {'frozen text encoder':<30}{count:>10.1f} M{work:>16.1f}"]
    return lines


def _memory_rows(result: TrainingPlan) -> list[str]:
    """Memory of one GPU under DDP and FSDP."""
    giga = 1e9
    lines = [f"{'memory of one GPU, GB':<36}{'DDP':>12}{'FSDP':>12}"]
    for label, name in (
        ("weights, gradients, Adam, EMA", "state"),
        ("gathered at one time", "gathered"),
        ("frozen text encoder", "text_encoder"),
        ("frozen teacher", "teacher"),
        (f"activations of {result.batch_per_gpu} clips", "activations"),
        (f"total, of {result.gpu_memory / giga:.0f}", "total"),
    ):
        if name == "teacher" and not result.ddp.teacher:
            continue
        ddp, fsdp = getattr(result.ddp, name) / giga, getattr(result.fsdp, name) / giga
        lines += [f"  {label:<34}{ddp:>12.1f}{fsdp:>12.1f}"]
    batches = [("largest batch", result.ddp, result.fsdp)]
    if result.text.flops_per_clip:
        batches += [
            ("largest batch, precomputed text", result.ddp_precomputed_text, result.fsdp_precomputed_text)
        ]
    for label, ddp_memory, fsdp_memory in batches:
        lines += [
            f"  {label:<34}{ddp_memory.largest_batch:>12}{fsdp_memory.largest_batch:>12}",
            f"  {'  with activation checkpointing':<34}{ddp_memory.largest_batch_checkpointed:>12}"
            f"{fsdp_memory.largest_batch_checkpointed:>12}",
        ]
    return lines


def _time_rows(result: TrainingPlan) -> list[str]:
    """Clips, data and GPU-days; text encoding on the fly against precomputed vectors."""
    lines = [
        f"step: {result.clips_per_step} clips ({result.gpus} GPUs x {result.batch_per_gpu} clips x "
        f"{result.accumulation} accumulated),",
        f"  {result.flops_per_step / 1e15:.3g} PFLOP, {result.seconds_per_step:.3g} s",
        f"day: {result.clips_per_day / 1e6:.3g} M clips, {result.audio_hours_per_day:,.0f} h of audio, "
        f"{result.text_tokens_per_day / 1e6:,.0f} M text tokens",
        f"{result.steps:,} steps: {result.days:.3g} days, {result.gpu_days:,.0f} GPU-days",
    ]
    text = result.text
    if text.flops_per_clip:
        lines += [
            f"text encoding on the fly: {text.share:.0%} of all operations, "
            f"{text.gpu_days_on_the_fly:,.0f} GPU-days in total",
            f"text vectors precomputed: {text.gpu_days_precomputed:,.0f} GPU-days in total, at most "
            f"{text.vector_bytes / 1e3:,.0f} kB per caption",
        ]
    return lines
