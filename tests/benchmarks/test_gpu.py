"""The measuring functions of `make gpu` and of table 4 run on the CPU at a tiny size."""

from __future__ import annotations

import json
import math

import pytest
import torch

from benchmarks import gpu, table4
from benchmarks.device_setup import STAGES, build, random_inputs, stage_config


def test_losses_on_the_same_device_are_equal() -> None:
    rows = gpu.losses("cpu", tiny=True)
    assert len(rows) == len(STAGES)
    for row in rows:
        assert row["relative_loss_error"] == row["relative_gradient_error"] == 0
        assert math.isfinite(row["loss"])


def test_all_modes_start_from_the_same_loss() -> None:
    """DDP and FSDP2 at world size 1 give the loss of a plain step, within bfloat16."""
    rows = gpu.modes("cpu", tiny=True, compiles=False)
    modes = [row["measurement"].rpartition(": ")[2] for row in rows]
    assert modes == ["fp32", "bf16", "bf16 DDP", "bf16 FSDP2"]
    reference = rows[0]["first_loss"]
    assert all(row["first_loss"] == pytest.approx(reference, rel=0.02) for row in rows)


def test_paper_networks_are_compared_with_the_plan() -> None:
    (row,) = gpu.paper_training("cpu", tiny=True, names=["super_resolution"])
    assert row["planned_gb"] > 0 and row["tflops_per_second"] > 0


def test_own_and_plain_layers_are_compared() -> None:
    (row,) = gpu.layers("cpu", tiny=True)
    assert row["ratio"] > 0


def test_table_4_counts_steps_and_evaluations(capsys: pytest.CaptureFixture[str]) -> None:
    assert table4.main(["--tiny", "--device=cpu", "--rounds=1", "--fp32", "--json"]) == 0
    rows = {row["stage"]: row for row in json.loads(capsys.readouterr().out)}
    assert [rows[name]["steps"] for name in STAGES] == [1000, 800, 1000, 100, 800]
    assert [rows[name]["evaluations"] for name in STAGES] == [2, 2, 2, 1, 1]
    for row in rows.values():
        assert row["seconds_per_clip"] == pytest.approx(row["milliseconds"] * row["steps"] / 1000)


def test_random_inputs_do_not_depend_on_the_call() -> None:
    stage = build(stage_config("waveform_cascader", tiny=True), "cpu")
    first, second = (random_inputs(stage, 2, stage.seconds) for _ in range(2))
    assert torch.equal(first.x0, second.x0)
    assert first.conditions.stacked is not None and second.conditions.stacked is not None
    assert torch.equal(first.conditions.stacked, second.conditions.stacked)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_cuda_device_gpu_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "No CUDA device: nothing is measured. Run 'make gpu' on a machine with one."
    ]
