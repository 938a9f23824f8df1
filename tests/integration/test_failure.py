"""A loss that is NaN, infinite or too high does not change the weights, and leaves a record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_n2m.stages.cascaders import SuperResolution
from tests.integration.conftest import fit
from tests.integration.curves import scalars

STAGE = "super_resolution"


def spoil(monkeypatch: pytest.MonkeyPatch, numbers: set[int], factor: float) -> None:
    """Multiply the training target of some samples."""
    target = SuperResolution.target

    def spoiled(self: SuperResolution, audio: Tensor) -> Tensor:
        x0 = target(self, audio)
        spoiled.calls += 1
        return x0 * factor if self.training and spoiled.calls in numbers else x0

    spoiled.calls = 0
    monkeypatch.setattr(SuperResolution, "target", spoiled)


def steps_of_adam(run: Path) -> float:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint["current_model_state"].values())
    return float(checkpoint["optimizer_states"][0]["state"][0]["step"])


def test_training_stops_before_the_step_and_names_the_clips(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, {3}, float("nan"))
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, tmp_path, "--checkpoint.every_n_train_steps=1", "--samples.clips=0")
    assert stop.value.code == 1
    last_line = capsys.readouterr().err.splitlines()[-1]
    record = tmp_path / "failures" / "step-00000003-rank-0.json"
    assert last_line.startswith("error: At step 3 the loss is nan") and str(record) in last_line
    failure = json.loads(record.read_text())
    assert [clip["number"] for clip in failure["clips"]] == [4, 5]
    assert all(clip["key"] and 0 <= clip["time"] <= 1 and clip["loss"] == "nan" for clip in failure["clips"])
    assert steps_of_adam(tmp_path) == 2


@pytest.mark.parametrize(("factor", "reason"), [(float("inf"), "the loss is"), (1e3, "far above the median")])
def test_a_failed_step_is_skipped(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, reason: str
) -> None:
    spoil(monkeypatch, {5}, factor)
    fit(
        STAGE,
        shards,
        tmp_path,
        "--divergence.action=skip",
        "--divergence.window=4",
        "--trainer.limit_val_batches=0",
    )
    assert steps_of_adam(tmp_path) == 5
    assert scalars(tmp_path, "train/skipped_steps") == {5: 1}
    (record,) = (tmp_path / "failures").glob("*.json")
    assert reason in json.loads(record.read_text())["reason"]


def test_a_training_that_only_fails_ends(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, set(range(3, 99)), float("nan"))
    more = ["--divergence.action=skip", "--divergence.patience=2", "--trainer.limit_val_batches=0"]
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, tmp_path, *more)
    assert stop.value.code == 1
    assert "3 steps in a row failed, the last at step 5" in capsys.readouterr().err
