from __future__ import annotations

import json
import shutil

import pytest

from examples.train_stage import main
from lightning_n2m.stages.bundle import load_stage
from tests.paths import CLIPS


@pytest.mark.slow
def test_a_folder_of_music_becomes_a_stage_that_loads(tmp_path):
    music, work = tmp_path / "music", tmp_path / "work"
    music.mkdir()
    for path in sorted(CLIPS.glob("*.ogg"))[:4]:
        shutil.copy(path, music)
    small = [
        "--model.network.base_channels=8",
        "--model.init_args.seconds=0.512",
        "--data.batch_size=2",
        "--data.num_workers=0",
        "--data.validation_clips=2",
        "--samples.clips=1",
        "--samples.num_steps=4",
        "--checkpoint.every_n_train_steps=2",
        "--trainer.enable_progress_bar=false",
    ]
    main([str(music), str(work), "--steps", "2", "--validation", "0.5", *small])
    stage = load_stage(work / "super_resolution")
    assert stage.sample_rate == 24_000
    index = json.loads((work / "shards" / "index.json").read_text())
    assert {shard["split"] for shard in index["shards"] if shard["clips"]} == {"train", "validation"}
