"""Event files, read back as TensorBoard reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from lightning_n2m.callbacks.board import BoardLogger, describe, settings_of


def values(folder: Path) -> list[tuple[int, Any]]:
    """Steps and summary values of a run, after TensorBoard's own conversion of old formats."""
    return [
        (event.step, value)
        for path in sorted(folder.glob("events*"))
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]


@pytest.fixture
def logger(tmp_path: Path) -> BoardLogger:
    return BoardLogger(tmp_path, name="", version="")


def test_scalars_carry_their_meaning(logger: BoardLogger, tmp_path: Path) -> None:
    logger.log_metrics({"val/loss_t0.5": 0.25, "val/loss": torch.tensor(0.5), "own": 1}, 7)
    logger.save()
    found = {value.tag: (step, value) for step, value in values(tmp_path)}
    step, value = found["val/loss_t0.5"]
    assert (step, value.tensor.float_val[0]) == (7, 0.25)
    assert value.metadata.plugin_data.plugin_name == "scalars"
    assert "at the diffusion time 0.5" in value.metadata.summary_description
    assert "The curve to watch" in found["val/loss"][1].metadata.summary_description
    assert found["own"][1].metadata.summary_description == ""


def test_a_training_that_is_refused_leaves_no_file(logger: BoardLogger, tmp_path: Path) -> None:
    assert logger.experiment is not None
    logger.save()  # Lightning does both before the data are prepared
    logger.finalize("failed")
    assert not list(tmp_path.iterdir())
    logger = BoardLogger(tmp_path, name="", version="")
    logger.log_settings({"model.seconds": 5.0})
    logger.finalize("failed")
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"events", "hparams"}


def test_a_clip_has_its_caption_as_title(logger: BoardLogger, tmp_path: Path) -> None:
    clip = torch.linspace(-1, 1, 1600)[None]
    logger.log_clip("clip_0/output", clip, 16_000, 3, "A slow waltz (output)", "**clip_0**: generated")
    logger.save()
    ((step, value),) = values(tmp_path)
    assert (step, value.tag, value.metadata.display_name) == (3, "clip_0/output", "A slow waltz (output)")
    assert value.metadata.summary_description == "**clip_0**: generated"
    assert value.metadata.plugin_data.plugin_name == "audio"
    assert value.tensor.string_val[0].startswith(b"RIFF")


def test_settings_are_hyper_parameters_with_the_best_loss(logger: BoardLogger, tmp_path: Path) -> None:
    logger.log_settings({"model.seconds": 5.0, "weights": "x"})
    logger.save()
    found = {value.tag: value for _, value in values(tmp_path)}
    content = found["_hparams_/session_start_info"].metadata.plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["model.seconds"].number_value == 5
    assert start.hparams["weights"].string_value == "x"
    content = found["_hparams_/experiment"].metadata.plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert [info.name.tag for info in experiment.metric_infos] == ["best/val_loss"]


def test_the_band_is_a_margin_chart(logger: BoardLogger, tmp_path: Path) -> None:
    logger.log_loss_band()
    logger.save()
    ((_, value),) = values(tmp_path)
    assert value.metadata.plugin_data.plugin_name == "custom_scalars"
    layout = layout_pb2.Layout.FromString(value.tensor.string_val[0])
    (series,) = layout.category[0].chart[0].margin.series
    names = (series.value, series.lower, series.upper)
    assert names == ("val/loss", "expected/val_loss_low", "expected/val_loss_high")


def test_all_tags_of_a_training_have_a_meaning() -> None:
    for tag in ("train/loss", "train/loss_t0", "clip_rate/output", "expected/val_loss_low", "evaluation/x"):
        assert describe(tag)
    assert describe("train/loss_t3").startswith("Unweighted training loss in quarter 3")
    assert describe("other") == ""


def test_settings_are_the_scalars_that_decide_a_training() -> None:
    config = {
        "model": {
            "class_path": "lightning_n2m.stages.cascaders.SuperResolution",
            "init_args": {
                "seconds": 5.0,
                "text": None,
                "sampling": {"num_steps": 5},
                "network": {"class_path": "a.UNet1d", "init_args": {"strides": [4, 4], "heads": 8}},
            },
        },
        "data": {"class_path": "a.AudioDataModule", "init_args": {"batch_size": 16, "shards": "x"}},
        "trainer": {"max_steps": 9, "precision": "bf16-mixed", "logger": None, "devices": 2},
        "ema": {"decay": 0.5},
        "weights": "hf://a/b",
    }
    assert settings_of(config) == {
        "model.class_path": "SuperResolution",
        "model.seconds": 5.0,
        "model.network.class_path": "UNet1d",
        "model.network.strides": "[4, 4]",
        "model.network.heads": 8,
        "data.batch_size": 16,
        "trainer.max_steps": 9,
        "trainer.precision": "bf16-mixed",
        "ema.decay": 0.5,
        "weights": "hf://a/b",
    }
