"""The plan counts what PyTorch counts, and what a training really takes."""

from __future__ import annotations

import json
import math

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from lightning_n2m.cli.main import main
from lightning_n2m.networks import convolution
from lightning_n2m.networks.convolution import Conv
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import build_stage
from lightning_n2m.stages.training_cost import LiveTensorBytes, MetaAutocast, step_cost
from tests.integration.conftest import STAGES
from tests.paths import ROOT

MILLIONS = dict(zip(STAGES, (724, 487, 745, 25.7, 81), strict=True))


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
    told = stage.build_conditions(batch | {"number": torch.arange(clips)}, x0.shape[-1], rng, training=True)  # type: ignore[arg-type]
    return stage.objective.loss(lambda x, t: stage.network(x, t, told), x0, rng.uniform(), x0).weighted.mean()


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
    # The text encoder is no part of the network; its answer is at hand before anything is counted.
    real_loss(stage, 1)
    with FlopCounterMode(display=False) as counter:
        real_loss(stage, 1).backward()
    planned = sum(step_cost(stage_of("starter", name, "meta"), mixed=False).flops.values())
    assert planned == pytest.approx(counter.get_total_flops(), rel=0.02)
    # Backward is twice forward; attention, the little that is no layer, is left out.
    assert planned == pytest.approx(3 * multiply_adds(stage, 1), rel=0.03)


def test_live_bytes_are_counted_while_they_live() -> None:
    with LiveTensorBytes() as live:
        kept = torch.zeros(1000)
        for _ in range(5):
            _ = kept * 2
        view = kept[:10]
    assert live.now <= 4 * 3000
    assert live.peak <= 4 * 3000
    assert live.peak >= 4 * 2000
    assert view.shape == (10,)


def test_checkpointing_and_mixed_precision_save_memory_and_cost_operations() -> None:
    stage = stage_of("starter", "waveform_generator", "meta")
    full, mixed = step_cost(stage, mixed=False), step_cost(stage, mixed=True)
    assert full.checkpointed.per_clip < 0.5 * full.living.per_clip
    assert 0.4 * full.living.per_clip < mixed.living.per_clip < 0.9 * full.living.per_clip
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
    # Windows for the products that stand in for a slow library are memory that no GPU needs. For a picture
    # that library itself needs more than they do.
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
    living = step_cost(stage_of("starter", name, "meta"), mixed=False).living
    assert living.fixed + living.per_clip == pytest.approx(peak, rel=0.12)


@pytest.mark.parametrize("name", STAGES)
def test_the_paper_recipes_are_planned(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(
        [
            "plan",
            "-c",
            str(ROOT / "configs" / "paper" / f"{name}.yaml"),
            "--gpus",
            "64",
            "--gpu",
            "a100",
            "--json",
        ]
    )
    found = json.loads(capsys.readouterr().out)
    assert sum(found["parameters"].values()) / 1e6 == pytest.approx(MILLIONS[name], rel=0.08)
    assert found["fsdp"]["state"] == found["ddp"]["state"] / 64
    work = sum(found["flops_of_a_clip"].values()) + found["text_encoder_flops_of_a_clip"]
    days = work * found["clips_of_a_step"] * found["steps"] / (312e12 * 0.4) / 86_400
    assert found["gpu_days"] == pytest.approx(days, rel=1e-6)
    assert found["fsdp"]["largest_batch_checkpointed"] > found["fsdp"]["largest_batch"] > 0
    if "text" in name or "generator" in name:
        assert found["text_encoder_parameters"] == pytest.approx(4.76e9, rel=0.01)  # T5-XXL's encoder


def test_the_plan_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(
        [
            "plan",
            "-c",
            str(ROOT / "configs" / "starter" / "super_resolution.yaml"),
            "--gpus",
            "2",
            "--gpu",
            "t4",
        ]
    )
    said = capsys.readouterr().out
    assert said.startswith("SuperResolution on 2 x t4")
    assert "level 3 down" in said and "GPU-days" in said


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--gpu=abacus"], "--gpu abacus"),
        (["--gpus=3", "--data.effective_batch=100"], "data.effective_batch"),
        (["--gpus=none"], "--gpus"),
        (["--model.network.colour=3"], "model.network.colour"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["plan", "-c", str(ROOT / "configs" / "starter" / "super_resolution.yaml"), *options])
    assert stop.value.code == 2
    assert named in capsys.readouterr().err
