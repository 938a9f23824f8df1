"""The planned cost equals what PyTorch counts and what a real training step allocates."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from lightning_n2m.networks import convolution
from lightning_n2m.networks.convolution import Conv
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.stage_config import build_stage
from lightning_n2m.stages.training_cost import AllocatedBytes, MetaAutocast, step_cost
from tests.integration.conftest import STAGES
from tests.paths import ROOT


def stage_of(kind: str, name: str, device: str) -> Stage:
    with torch.device(device):
        return build_stage(yaml.safe_load((ROOT / "configs" / kind / f"{name}.yaml").read_text())["model"])


def real_loss(stage: Stage, clips: int) -> Tensor:
    """A real training step up to the loss, of noise with a long caption."""
    audio = torch.randn(clips, 1, round(stage.seconds * stage.sample_rate)) / 10
    batch = {
        "audio": audio,
        "caption": ["a slow waltz for piano and strings " * 20] * clips,
        "key": ["k"] * clips,
    }
    rng = PerSampleGenerator("plan", range(clips))
    x0 = stage.target(audio)
    batch |= {"number": torch.arange(clips)}
    conditions = stage.build_conditions(batch, x0.shape[-1], rng, training=True)  # type: ignore[arg-type]
    network = functools.partial(stage.network, conditions=conditions)
    return stage.objective.loss(network, x0, rng.uniform(), x0).weighted.mean()


def multiply_adds(stage: Stage, clips: int) -> float:
    """Operations of convolutions and linear layers of a forward pass, from their shapes."""
    total = 0.0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += 2 * output.numel() * module.in_features
        elif isinstance(module, nn.ConvTranspose1d):
            total += 2 * inputs[0].numel() * module.out_channels * module.kernel_size[0]
        elif isinstance(module, nn.Conv1d):
            total += 2 * output.numel() * module.in_channels * module.kernel_size[0]
        elif isinstance(module, nn.Conv2d):
            total += 2 * output.numel() * module.in_channels * math.prod(module.kernel_size)

    hooks = [module.register_forward_hook(count) for module in stage.network.modules()]
    with torch.no_grad():
        real_loss(stage, clips)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("name", STAGES)
def test_operations_are_those_of_a_real_step(name: str) -> None:
    stage = stage_of("starter", name, "cpu")
    # The text encoder is no part of the network: its vectors are cached before anything is counted.
    real_loss(stage, 1)
    with FlopCounterMode(display=False) as counter:
        real_loss(stage, 1).backward()
    planned = sum(step_cost(stage_of("starter", name, "meta"), mixed=False).flops.values())
    assert planned == pytest.approx(counter.get_total_flops(), rel=0.02)
    # The backward pass costs twice the forward pass. Attention products, a small part, are not counted.
    assert planned == pytest.approx(3 * multiply_adds(stage, 1), rel=0.03)


def test_allocated_bytes_are_counted_until_they_are_freed() -> None:
    with AllocatedBytes() as allocated:
        kept = torch.zeros(1000)
        for _ in range(5):
            _ = kept * 2
        view = kept[:10]
    assert allocated.now <= 4 * 3000
    assert allocated.peak <= 4 * 3000
    assert allocated.peak >= 4 * 2000
    assert view.shape == (10,)


def test_checkpointing_and_mixed_precision_save_memory_and_cost_operations() -> None:
    stage = stage_of("starter", "waveform_generator", "meta")
    full, mixed = step_cost(stage, mixed=False), step_cost(stage, mixed=True)
    assert full.checkpointed_activations.per_clip < 0.5 * full.activations.per_clip
    assert 0.4 * full.activations.per_clip < mixed.activations.per_clip < 0.9 * full.activations.per_clip
    assert 0.2 < full.recomputed_flops / sum(full.flops.values()) < 1 / 3
    assert mixed.flops == full.flops


def test_meta_autocast_narrows_what_autocast_narrows() -> None:
    conv, linear = Conv(4, 4, 3, padding=1, device="meta"), nn.Linear(8, 8, device="meta")
    with MetaAutocast():
        x = linear(conv(torch.empty(1, 4, 8, device="meta")))
        assert x.dtype == torch.bfloat16
        assert nn.LayerNorm(8, device="meta")(x).dtype == torch.float32


@pytest.mark.parametrize("name", STAGES)
def test_memory_is_what_a_real_step_allocates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The im2col weight gradient of the CPU layers needs windows that no GPU needs; for spectrograms the
    # library itself needs more.
    monkeypatch.setattr(convolution, "uses_im2col_gradient", lambda x: x.shape[2] > 1)
    stage = stage_of("starter", name, "cpu")
    real_loss(stage, 1).backward()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        real_loss(stage, 1).backward()
    now = peak = 0
    for event in profiled.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    planned = step_cost(stage_of("starter", name, "meta"), mixed=False).activations
    assert planned.fixed + planned.per_clip == pytest.approx(peak, rel=0.12)
