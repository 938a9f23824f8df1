"""Defaults of Lightning that this project changes: schedules by epoch, compiled names, stale configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from lightning_n2m.stages.settings import Optimisation
from tests.integration.conftest import fit
from tests.integration.curves import scalars

STAGE = "super_resolution"


def test_the_learning_rate_moves_with_every_step(shards: Path, tmp_path: Path) -> None:
    chosen = {"learning_rate": 0.01, "warmup_steps": 3, "total_steps": 8}
    options = [f"--model.optimisation.{name}={value}" for name, value in chosen.items()]
    fit(STAGE, shards, tmp_path, *options, "--data.effective_batch=4", "--samples.clips=0")
    expected = Optimisation(**chosen)
    rates = {step + 1: 0.01 * expected.factor(step) for step in range(6)}
    assert scalars(tmp_path, "train/learning_rate") == pytest.approx(rates, rel=1e-6)


def test_a_changed_learning_rate_holds_in_a_resumed_run(shards: Path, tmp_path: Path) -> None:
    fit(STAGE, shards, tmp_path, "--trainer.max_steps=2", "--samples.clips=0")
    chosen = {"learning_rate": 0.02, "warmup_steps": 1, "total_steps": 9}
    changed = [f"--model.optimisation.{name}={value}" for name, value in chosen.items()]
    fit(STAGE, shards, tmp_path, "--trainer.max_steps=4", "--ckpt_path=last", "--samples.clips=0", *changed)
    expected, rates = Optimisation(**chosen), scalars(tmp_path, "train/learning_rate")
    assert {step: rates[step] for step in (3, 4)} == pytest.approx(
        {step + 1: 0.02 * expected.factor(step) for step in (2, 3)}, rel=1e-6
    )


@pytest.mark.parametrize("limit", ["--trainer.max_time=00:01:00:00", "--trainer.max_epochs=5"])
def test_a_training_without_a_number_of_steps_ends_where_the_rate_is_zero(
    shards: Path, tmp_path: Path, limit: str
) -> None:
    rate = ["--model.optimisation.warmup_steps=1", "--model.optimisation.total_steps=3"]
    quick = ["--samples.clips=0", "--trainer.limit_val_batches=0"]
    fit(STAGE, shards, tmp_path, "--trainer.max_steps=-1", limit, *rate, *quick)
    assert sorted(scalars(tmp_path, "train/learning_rate")) == [1, 2, 3]


def test_a_compiled_network_keeps_its_names(
    runs: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, calls = nn.Module.compile, []

    def traced(module: nn.Module) -> None:
        """Trace as by default, but do not compile C++ code, which takes minutes."""
        compiled(module, backend="eager")
        calls.append(module)

    monkeypatch.setattr(nn.Module, "compile", traced)
    fit(STAGE, shards, tmp_path, "--model.compile=true", "--trainer.max_steps=2", "--samples.clips=0")
    kept: dict[str, Any] = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    other = torch.load(runs / STAGE / "checkpoints" / "last.ckpt", weights_only=True)
    assert calls
    for kind in ("state_dict", "current_model_state"):
        assert list(kept[kind]) == list(other[kind])


def test_a_resumed_run_updates_its_config(shards: Path, tmp_path: Path) -> None:
    fit(STAGE, shards, tmp_path, "--trainer.max_steps=2")
    fit(STAGE, shards, tmp_path, "--trainer.max_steps=4", "--ckpt_path=last", "--samples.clips=0")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["trainer"]["max_steps"] == 4


def test_recomputed_activations_give_the_same_training(runs: Path, shards: Path, tmp_path: Path) -> None:
    fit(STAGE, shards, tmp_path, "--model.network.checkpointing=true", "--samples.clips=0")
    assert scalars(tmp_path, "train/loss") == pytest.approx(scalars(runs / STAGE, "train/loss"), rel=1e-5)
