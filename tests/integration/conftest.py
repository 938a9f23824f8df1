"""Shards of the twelve test clips, and starter recipes reduced to networks that train in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_pipeline.__main__ import main as data_pipeline
from lightning_n2m.cli.main import main
from tests.data_pipeline.conftest import clips, manifest, music  # noqa: F401
from tests.paths import CLIPS, ROOT

STAGES = (
    "waveform_generator",
    "waveform_cascader",
    "spectrogram_generator",
    "spectrogram_vocoder",
    "super_resolution",
)
STRIDES = {"spectrogram_vocoder": [2, 4, 4, 5]}


def tiny(stage: str, shards: Path, run: Path, *more: str, recipe: str | None = None) -> list[str]:
    """Command-line options that shrink a starter recipe, that of the stage or another one of it."""
    cross_attention = [
        "false",
        "false",
        "false",
        str("generator" in stage or stage == "waveform_cascader").lower(),
    ]
    options = {
        "--data.shards": shards,
        "--data.batch_size": 2,
        "--data.num_workers": 0,
        "--data.shuffle_shards": 2,
        "--data.validation_clips": 2,
        "--model.init_args.seconds": 0.48,
        "--model.network.base_channels": 96 if stage == "spectrogram_generator" else 8,
        "--model.network.multipliers": "[1,1,1,1]" if stage == "spectrogram_generator" else "[1,1,2,2]",
        "--model.network.strides": str(
            STRIDES.get(stage, [2, 2, 2, 2] if stage == "spectrogram_generator" else [4, 4, 2, 2])
        ),
        "--model.network.blocks": "[1,1,1,1]",
        "--model.network.self_attention": "[false,false,false,false]",
        "--model.network.cross_attention": f"[{','.join(cross_attention)}]",
        "--model.sampling.num_steps": 4,
        "--samples.num_steps": 4,
        "--samples.clips": 1,
        "--samples.guidance_scales": "[1,7]",
        "--trainer.default_root_dir": run,
        "--trainer.max_steps": 6,
        "--trainer.val_check_interval": 3,
        "--trainer.log_every_n_steps": 1,
        "--trainer.enable_progress_bar": "false",
        "--trainer.enable_model_summary": "false",
        "--checkpoint.every_n_train_steps": 2,
    }
    return [
        "-c",
        str(ROOT / "configs" / "starter" / f"{recipe or stage}.yaml"),
        *(f"{k}={v}" for k, v in options.items()),
        *more,
    ]


def fit(stage: str, shards: Path, run: Path, *more: str) -> None:
    """Train a tiny stage in this process."""
    main(["fit", *tiny(stage, shards, run, *more)])


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the clips in the repository, built by the pipeline's own commands."""
    folder = tmp_path_factory.mktemp("corpus")
    listing, shards = folder / "manifest.jsonl", folder / "shards"
    listed = ["--source", str(CLIPS), "--metadata", str(CLIPS / "metadata.jsonl"), "--output", str(listing)]
    assert data_pipeline(["manifest", *listed]) == 0
    cut = ["--output", str(shards), "--tracks_per_shard", "2", "--validation", "0.2", "--test", "0.2"]
    assert data_pipeline(["shard", "--manifest", str(listing), "--workers", "1", *cut]) == 0
    return shards


@pytest.fixture(scope="session")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of each stage, trained for six steps."""
    folder = tmp_path_factory.mktemp("runs")
    for stage in STAGES:
        fit(stage, shards, folder / stage)
    return folder


@pytest.fixture(scope="session")
def exported(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported bundles of the tiny stages."""
    folder = tmp_path_factory.mktemp("pretrained")
    for stage in STAGES:
        main(["export", str(runs / stage), str(folder / stage)])
    return folder
