"""Distilled stages from the command line: every stage, export, resume, several processes, wrong teachers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_n2m.cli.lightning_cli import run_cli
from lightning_n2m.cli.main import main
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.bundle import LAST, load_stage, read_config, write_bundle
from lightning_n2m.stages.bundle_weights import hash_weights
from lightning_n2m.stages.stage_config import build_stage
from tests.integration.conftest import ROOT, STAGES, tiny
from tests.integration.ranks import launch
from tests.integration.test_ddp import DDP, assert_same, weights

# The recipes of students have the layout of the weights that come with the project; here it is that of the
# teachers' recipes.
LAYOUT = ("--model.network.resample_kernel=stride_multiple", "--model.network.equal_phases=true")
SMALL = tuple(
    f"--{key}={value}"
    for key, value in {
        "model.distillation.teacher_steps": 4,
        "model.distillation.pairs": 2,
        "model.distillation.max_steps": 4,
        "samples.clips": 0,
        "trainer.max_steps": 4,
        "trainer.val_check_interval": 4,
    }.items()
)
STAGE = "super_resolution"  # the cheapest one


def options(stage: str, shards: Path, run: Path, *more: str) -> list[str]:
    """A tiny student of a tiny stage."""
    return ["fit", *tiny(stage, shards, run, *LAYOUT, *SMALL, *more, recipe=f"{stage}_few")]


def teacher_bundle(stage: str, shards: Path, folder: Path) -> Path:
    """A stage with random weights, as ``export`` writes it."""
    config = run_cli(["fit", *tiny(stage, shards, folder)], parse_only=True).config_dump["model"]
    torch.manual_seed(0)
    network = build_stage(config).network
    for parameter in network.parameters():  # the output starts at zero
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    return write_bundle(folder, config, network.state_dict())


def checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(run / LAST, weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_distilled_exported_and_sampled(stage: str, shards: Path, tmp_path: Path) -> None:
    run, source = tmp_path / "run", teacher_bundle(stage, shards, tmp_path / "source")
    main(options(stage, shards, run, f"--weights={source}", "--trainer.max_steps=2"))
    saved = checkpoint(run)
    # The teacher lies in the folder of the run, once; the checkpoint names it by its hash.
    teacher = load_stage(run / "teacher")
    hashes = {hash_weights(stage.network.state_dict()) for stage in (teacher, load_stage(source))}
    assert hashes == {saved["teacher"]}
    student_names = {f"network.{name}" for name in teacher.network.state_dict()}
    added = {"network.step.linear.weight", "network.step.linear.bias"}
    assert set(saved["state_dict"]) == set(saved["current_model_state"]) == student_names | added
    main(["export", str(run), str(tmp_path / "bundle")])
    student = load_stage(tmp_path / "bundle")
    assert student.sampling.method == "few"
    signal = None
    if student.conditioner is not None:
        signal = student.conditioner.degrade(torch.zeros(1, 1, student.sample_rate))
    output = student.generate(["a waltz"], 0.48, PerSampleGenerator(0, [0]), signal)
    assert torch.isfinite(output).all() and output.abs().max() > 0


@pytest.mark.slow
def test_a_resumed_distillation_equals_an_uninterrupted_one_bit_for_bit(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Student, average and moments; the resumed run reads the teacher from its own folder."""
    teacher = teacher_bundle(STAGE, shards, tmp_path / "teacher")
    start = f"--weights={teacher}"
    main(options(STAGE, shards, tmp_path / "whole", start))
    main(options(STAGE, shards, tmp_path / "parts", start, "--trainer.max_steps=2"))
    shutil.rmtree(teacher)
    main(options(STAGE, shards, tmp_path / "parts", start, "--ckpt_path=last"))
    whole, parts = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts")
    for kind in ("state_dict", "current_model_state"):
        assert all(torch.equal(tensor, parts[kind][name]) for name, tensor in whole[kind].items()), kind
    current = whole["current_model_state"].items()
    assert any(not torch.equal(tensor, whole["state_dict"][name]) for name, tensor in current)
    moments = [state["optimizer_states"][0]["state"] for state in (whole, parts)]
    assert all(torch.equal(moments[0][i]["exp_avg"], moments[1][i]["exp_avg"]) for i in moments[0])

    # Another teacher in its place is refused, and so is a new run without one.
    stored = load_stage(tmp_path / "parts" / "teacher").network.state_dict()
    stored["exit.bias"] += 1e-3
    write_bundle(tmp_path / "parts" / "teacher", read_config(tmp_path / "whole" / "teacher"), stored)
    for folder, message in (("parts", "was distilled from the teacher"), ("new", "no teacher was given")):
        with pytest.raises(SystemExit):
            main(options(STAGE, shards, tmp_path / folder, "--ckpt_path=last"))
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_distil_as_one(shards: Path, tmp_path: Path) -> None:
    source = teacher_bundle(STAGE, shards, tmp_path / "source")

    def command(name: str, ranks: int, *more: str) -> list[str]:
        shared = ["--data.streams=2", "--data.effective_batch=4", "--model.optimisation.warmup_steps=1"]
        own = [f"--trainer.devices={ranks}", f"--data.batch_size={4 // ranks}", f"--weights={source}"]
        return options(STAGE, shards, tmp_path / name, *shared, *own, *more)

    main(command("one", 1))
    main(command("start", 1, "--trainer.max_steps=1"))
    launch(2, [command("two", 2, *DDP)], ROOT)
    assert_same(tmp_path / "two", tmp_path / "one", weights(tmp_path / "start"))
    assert checkpoint(tmp_path / "two")["teacher"] == checkpoint(tmp_path / "one")["teacher"]
