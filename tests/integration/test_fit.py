"""Each stage trains, logs to TensorBoard, and resumes bit for bit after an interruption."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from lightning_n2m.cli.main import main
from tests.integration.conftest import STAGES, fit
from tests.integration.curves import scalars, tags

TEXT = ("waveform_generator", "waveform_cascader", "spectrogram_generator")


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_logs_losses_audio_and_spectrograms(runs: Path, stage: str) -> None:
    logged = tags(runs / stage)
    curves = {"train/loss", "train/learning_rate", "train/gradient_norm", "val/loss", "val/loss_t0.5"}
    curves |= {"speed/clips_per_second", "speed/audio_seconds_per_second", "speed/waiting_for_data"}
    assert curves | {"memory/peak_gb"} <= logged["scalars"]
    assert any(tag.startswith("train/loss_t") for tag in logged["scalars"])
    outputs = ["output_guidance_1", "output_guidance_7"] if stage in TEXT else ["output"]
    audio = {f"clip_0/{kind}" for kind in [*outputs, "reference"]}
    audio |= (
        {f"prompt_{i}/{kind}" for i in (0, 1) for kind in outputs}
        if "generator" in stage
        else {"clip_0/input"}
    )
    assert audio <= logged["audio"]
    assert {name.partition("/")[0] + "/spectrograms" for name in audio} == logged["images"]
    assert {f"clip_rate/{kind}" for kind in outputs} <= logged["scalars"]


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
    resumed_state, whole_state = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (tmp_path, runs / stage)
    )
    for kind in ("state_dict", "current_model_state"):
        assert resumed_state[kind].keys() == whole_state[kind].keys()
        for name, tensor in resumed_state[kind].items():
            assert torch.equal(tensor, whole_state[kind][name]), name


def test_a_training_starts_from_the_given_weights(runs: Path, shards: Path, tmp_path: Path) -> None:
    """A rate of zero leaves the weights as they are; a resumed run ignores the option."""
    still = ("--model.optimisation.learning_rate=0", "--trainer.max_steps=1")
    fit("super_resolution", shards, tmp_path / "a", f"--weights={runs / 'super_resolution'}", *still)
    read = functools.partial(torch.load, weights_only=True)
    given = read(runs / "super_resolution" / "checkpoints" / "last.ckpt")["state_dict"]
    saved = read(tmp_path / "a" / "checkpoints" / "last.ckpt")
    for kind in ("state_dict", "current_model_state"):
        assert all(torch.equal(saved[kind][name], given[name]) for name in given)
    fit("super_resolution", shards, tmp_path / "a", "--weights=nowhere", "--ckpt_path=last", *still[:1])
    # The run's config names the weights; validating its checkpoint needs them no more.
    run = tmp_path / "a"
    main(["validate", f"--config={run / 'config.yaml'}", f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"])


def test_the_checkpoint_holds_the_network_and_nothing_else(runs: Path) -> None:
    checkpoint = torch.load(runs / "waveform_generator" / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(name.startswith("network.") for name in checkpoint["state_dict"])
    assert "hyper_parameters" not in checkpoint
    averaged, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert any(not torch.equal(averaged[name], current[name]) for name in averaged)


def test_another_logger_replaces_tensorboard(shards: Path, tmp_path: Path) -> None:
    logger = [
        "--trainer.logger=lightning.pytorch.loggers.CSVLogger",
        f"--trainer.logger.save_dir={tmp_path / 'csv'}",
    ]
    fit("super_resolution", shards, tmp_path / "run", "--trainer.max_steps=1", *logger)
    assert list((tmp_path / "csv").rglob("metrics.csv"))
    assert not list(tmp_path.rglob("events.out.tfevents*"))
