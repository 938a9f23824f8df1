"""Each stage trains, shows itself in TensorBoard, and goes on after an interruption as if there was none."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import STAGES, fit
from tests.integration.curves import board, scalars

TEXT = ("waveform_generator", "waveform_cascader", "spectrogram_generator")


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_logs_losses_audio_and_pictures(runs: Path, stage: str) -> None:
    tags = board(runs / stage).Tags()
    curves = {"train/loss", "train/learning_rate", "train/gradient_norm", "val/loss", "val/loss_t0.5"}
    curves |= {"speed/clips_per_second", "speed/audio_seconds_per_second", "speed/waiting_for_data"}
    assert curves | {"memory/peak_gb"} <= set(tags["scalars"])
    assert any(tag.startswith("train/loss_t") for tag in tags["scalars"])
    made = ["output_guidance_1", "output_guidance_7"] if stage in TEXT else ["output"]
    heard = {f"clip_0/{kind}" for kind in [*made, "truth"]}
    heard |= (
        {f"prompt_{i}/{kind}" for i in (0, 1) for kind in made} if "generator" in stage else {"clip_0/input"}
    )
    assert heard <= set(tags["audio"])
    assert {name.partition("/")[0] + "/spectrograms" for name in heard} == set(tags["images"])
    assert {f"clip_rate/{kind}" for kind in made} <= set(tags["scalars"])


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_run_repeats_the_uninterrupted_one(
    runs: Path, shards: Path, tmp_path: Path, stage: str
) -> None:
    fit(stage, shards, tmp_path, "--trainer.max_steps=4")
    fit(stage, shards, tmp_path, "--ckpt_path=last")
    whole, resumed = scalars(runs / stage, "train/loss"), scalars(tmp_path, "train/loss")
    assert len(whole) == 6
    assert resumed == whole
    assert scalars(tmp_path, "val/loss") == scalars(runs / stage, "val/loss")
    mine, theirs = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (tmp_path, runs / stage)
    )
    for kind in ("state_dict", "current_model_state"):
        assert mine[kind].keys() == theirs[kind].keys()
        assert all(torch.equal(mine[kind][name], theirs[kind][name]) for name in mine[kind])


def test_a_training_begins_with_the_weights_that_it_is_given(
    runs: Path, shards: Path, tmp_path: Path
) -> None:
    """At a rate of zero nothing else can be in the checkpoint; a run that has begun goes on as it is."""
    still = ("--model.optimisation.learning_rate=0", "--trainer.max_steps=1")
    fit("super_resolution", shards, tmp_path / "a", f"--weights={runs / 'super_resolution'}", *still)
    read = functools.partial(torch.load, weights_only=True)
    given = read(runs / "super_resolution" / "checkpoints" / "last.ckpt")["state_dict"]
    found = read(tmp_path / "a" / "checkpoints" / "last.ckpt")
    for kind in ("state_dict", "current_model_state"):
        assert all(torch.equal(found[kind][name], given[name]) for name in given)
    fit("super_resolution", shards, tmp_path / "a", "--weights=nowhere", "--ckpt_path=last", *still[:1])


def test_the_checkpoint_holds_the_network_and_nothing_else(runs: Path) -> None:
    checkpoint = torch.load(runs / "waveform_generator" / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(name.startswith("network.") for name in checkpoint["state_dict"])
    assert "hyper_parameters" not in checkpoint
    averaged, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert any(not torch.equal(averaged[name], current[name]) for name in averaged)


def test_another_logger_takes_the_place_of_tensorboard(shards: Path, tmp_path: Path) -> None:
    logger = [
        "--trainer.logger=lightning.pytorch.loggers.CSVLogger",
        f"--trainer.logger.save_dir={tmp_path / 'csv'}",
    ]
    fit("super_resolution", shards, tmp_path / "run", "--trainer.max_steps=1", *logger)
    assert list((tmp_path / "csv").rglob("metrics.csv"))
    assert not list(tmp_path.rglob("events.out.tfevents*"))
