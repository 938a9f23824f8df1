"""Two processes train as one does: same samples, same noise, same weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_n2m.stages.bundle import load_stage
from tests.stages.conftest import ROOT, tiny
from tests.stages.curves import scalars


def weights(run: Path) -> torch.Tensor:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return torch.cat([tensor.flatten() for tensor in checkpoint["current_model_state"].values()])


@pytest.mark.slow
def test_two_gloo_processes_equal_one(shards: Path, tmp_path: Path) -> None:
    shared = ["--data.streams=2", "--model.optimisation.warmup_steps=1", "--checkpoint.every_n_train_steps=1"]
    for name, ranks, batch in (("start", 1, 4), ("one", 1, 4), ("two", 2, 2)):
        options = tiny("waveform_cascader", shards, tmp_path / name, *shared)
        options += [f"--trainer.devices={ranks}", f"--data.batch_size={batch}", "--listen.clips=0"]
        options += ["--trainer.max_steps=1"] if name == "start" else []
        options += ["--trainer.strategy=ddp"] if ranks > 1 else []
        done = subprocess.run(
            [sys.executable, "-m", "lightning_n2m", "fit", *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    start, one, two = (weights(tmp_path / name) for name in ("start", "one", "two"))
    assert (one - two).norm() < 0.01 * (one - start).norm()
    assert scalars(tmp_path / "two", "val/loss") == pytest.approx(
        scalars(tmp_path / "one", "val/loss"), rel=1e-4
    )
    assert load_stage(tmp_path / "two").sample_rate == 16_000
