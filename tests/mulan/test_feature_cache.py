from __future__ import annotations

from pathlib import Path

from lightning_n2m.data.shard_reader import find_shards
from lightning_n2m.mulan.audio_tower import TaggerTower
from lightning_n2m.mulan.feature_cache import cached_features


def test_features_are_cached_and_interrupted_work_is_repeated(shards: Path, tmp_path: Path) -> None:
    (file, *_) = find_shards([shards], "train")
    tower = TaggerTower()
    first = cached_features(tower, file, tmp_path)
    (path,) = tmp_path.rglob("*.npy")
    changed = path.stat().st_mtime_ns
    assert cached_features(tower, file, tmp_path).features.tolist() == first.features.tolist()
    assert path.stat().st_mtime_ns == changed
    path.unlink()  # as a kill between the two files would leave it
    assert cached_features(tower, file, tmp_path).features.tolist() == first.features.tolist()
    assert first.features.shape == (len(first.clips), 1, tower.feature_size)
