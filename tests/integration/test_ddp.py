"""Several processes give the same training as one: same samples, same noise, same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_n2m.cli.main import main
from lightning_n2m.stages.bundle import load_stage
from tests.integration.conftest import ROOT, STAGES, tiny
from tests.integration.curves import scalars
from tests.integration.ranks import launch

OVERLAYS = ROOT / "configs" / "trainer"
ON_CPU = ["--trainer.accelerator=cpu", "--trainer.precision=32-true"]
DDP = [f"--config={OVERLAYS / 'ddp.yaml'}", *ON_CPU]
SHARDED = [f"--config={OVERLAYS / 'fsdp.yaml'}", *ON_CPU]


def options(stage: str, shards: Path, run: Path, ranks: int, batch: int, *more: str) -> list[str]:
    """Options for four clips per step, in an order that does not depend on the number of ranks."""
    shared = ["--data.streams=2", "--data.effective_batch=4", "--model.optimisation.warmup_steps=1"]
    own = [*more, f"--trainer.devices={ranks}", f"--data.batch_size={batch}"]
    return ["fit", *tiny(stage, shards, run, *shared, *own)]


def weights(run: Path, kind: str = "current_model_state") -> torch.Tensor:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return torch.cat([tensor.flatten() for tensor in checkpoint[kind].values()])


def assert_same(run: Path, other: Path, start: torch.Tensor) -> None:
    """Losses, weights and averages agree within floating-point noise."""
    for curve in ("train/loss", "train/gradient_norm", "val/loss"):
        assert scalars(run, curve) == pytest.approx(scalars(other, curve), rel=2e-4), curve
    for kind in ("current_model_state", "state_dict"):
        difference = weights(run, kind) - weights(other, kind)
        assert difference.norm() < 0.02 * (weights(other, kind) - start).norm(), kind


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage on one process and on two; two also with everything sharded, and with accumulation."""
    folder = tmp_path_factory.mktemp("ranks")
    commands = []
    for stage in STAGES:
        main(options(stage, shards, folder / "one" / stage, 1, 4))
        main(options(stage, shards, folder / "start" / stage, 1, 4, "--trainer.max_steps=1"))
        commands.append(options(stage, shards, folder / "ddp" / stage, 2, 2, *DDP))
        commands.append(options(stage, shards, folder / "sharded" / stage, 2, 2, *SHARDED))
    stage = "waveform_cascader"
    commands.append(options(stage, shards, folder / "accumulated", 2, 1, *DDP))
    commands.append(options(stage, shards, folder / "moved", 2, 1, *DDP, "--trainer.max_steps=4"))
    commands.append(
        options(stage, shards, folder / "moved", 2, 2, *SHARDED, "--ckpt_path=last", "--trainer.max_steps=5")
    )
    launch(2, commands, ROOT)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "sharded"])
@pytest.mark.parametrize("stage", STAGES)
def test_two_gloo_processes_equal_one(trained: Path, stage: str, strategy: str) -> None:
    start = weights(trained / "start" / stage)
    assert_same(trained / strategy / stage, trained / "one" / stage, start)
    assert load_stage(trained / strategy / stage).network.channels


@pytest.mark.slow
def test_an_accumulated_batch_equals_a_whole_one(trained: Path) -> None:
    stage = "waveform_cascader"
    assert_same(trained / "accumulated", trained / "one" / stage, weights(trained / "start" / stage))


@pytest.mark.slow
def test_a_run_resumes_with_another_number_of_ranks_and_another_strategy(trained: Path, shards: Path) -> None:
    """Two ranks with accumulation, then two sharded ones, then a single process."""
    stage = "waveform_cascader"
    main(options(stage, shards, trained / "moved", 1, 4, "--ckpt_path=last"))
    assert_same(trained / "moved", trained / "one" / stage, weights(trained / "start" / stage))
