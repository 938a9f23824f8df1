"""The plan has the paper's sizes, and refuses what cannot be planned."""

from __future__ import annotations

import json

import pytest

from lightning_n2m.cli.main import main
from tests.integration.conftest import STAGES
from tests.paths import ROOT

MILLIONS = dict(zip(STAGES, (724, 487, 745, 25.7, 81), strict=True))


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
    result = json.loads(capsys.readouterr().out)
    assert sum(result["parameters"].values()) / 1e6 == pytest.approx(MILLIONS[name], rel=0.08)
    assert result["fsdp"]["state"] == result["ddp"]["state"] / 64
    work = sum(result["flops_per_clip"].values()) + result["text"]["flops_per_clip"]
    days = work * result["clips_per_step"] * result["steps"] / (312e12 * 0.4) / 86_400
    assert result["gpu_days"] == pytest.approx(days, rel=1e-6)
    assert result["fsdp"]["largest_batch_checkpointed"] > result["fsdp"]["largest_batch"] > 0
    if "text" in name or "generator" in name:
        assert result["text"]["parameters"] == pytest.approx(4.76e9, rel=0.01)  # T5-XXL's encoder


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
    output = capsys.readouterr().out
    assert output.startswith("SuperResolution on 2 x t4")
    assert "level 3 down" in output and "GPU-days" in output
    assert max(map(len, output.splitlines())) <= 80


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


def test_the_plan_of_a_distillation_counts_the_passes_of_the_teacher(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Passes counted by hand: 16 steps of the teacher, twice for guidance, and four steps of the student."""
    recipe = str(ROOT / "configs" / "starter" / "waveform_cascader_few.yaml")
    on_data = ["--model.distillation=null", "--model.sampling.method=ddim"]
    results = []
    for options in (on_data, ["--model.distillation.pairs=4"]):
        main(["plan", "-c", recipe, "--gpus=2", "--json", *options])
        results.append(json.loads(capsys.readouterr().out))
    training, distilling = results
    one_step = sum(training["flops_per_clip"].values())
    assert sum(distilling["flops_per_clip"].values()) == 4 * one_step
    # A forward pass is about a third of a training step.
    assert distilling["distillation_flops_per_clip"] == pytest.approx(32 * one_step / 3, rel=0.1)
    assert training["distillation_flops_per_clip"] == training["ddp"]["teacher"] == 0
    parameters = sum(distilling["parameters"].values())
    assert distilling["fsdp"]["teacher"] == distilling["ddp"]["teacher"] == 4 * parameters
    extra = distilling["distillation_flops_per_clip"] + distilling["text"]["flops_per_clip"]
    assert distilling["flops_per_step"] == (4 * one_step + extra) * distilling["clips_per_step"]
