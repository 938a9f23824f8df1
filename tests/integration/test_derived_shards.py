"""A stage trains on derived shards as on their masters, and on several sources at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data_pipeline.__main__ import main as data_pipeline
from lightning_n2m.data.schema import read_index
from tests.integration.conftest import fit
from tests.integration.curves import scalars


@pytest.mark.parametrize(
    ("stage", "form"), [("waveform_generator", "3200"), ("spectrogram_generator", "mel")]
)
def test_losses_are_those_of_training_on_masters(
    runs: Path, shards: Path, tmp_path: Path, stage: str, form: str
) -> None:
    folder = Path(shutil.copytree(shards, tmp_path / "shards"))
    assert data_pipeline(["shard", "--output", str(folder), "--derive", form, "--workers", "1"]) == 0
    for shard in read_index(folder).of("train"):
        (folder / shard.name).unlink()  # It is the derived form that is read, or nothing.
    fit(stage, folder, tmp_path / "run")
    losses = scalars(tmp_path / "run", "train/loss")
    assert losses == pytest.approx(scalars(runs / stage, "train/loss"), rel=2e-3)


def test_a_stage_trains_on_weighted_sources(shards: Path, tmp_path: Path) -> None:
    other = shutil.copytree(shards, tmp_path / "other")
    weights = f"--data.shards={{{shards}: 3, {other}: 1}}"
    fit("waveform_generator", shards, tmp_path / "run", weights, "--trainer.max_steps=2")
    assert len(scalars(tmp_path / "run", "train/loss")) == 2
