from __future__ import annotations

from pathlib import Path

from lightning_n2m.data.shard_reader import find_shards
from lightning_n2m.mulan.audio_tower import TaggerTower
from lightning_n2m.mulan.feature_cache import cached_features
from lightning_n2m.mulan.feature_pairs import FeatureStream
from lightning_n2m.mulan.pairs import PairText


def test_two_ranks_deal_out_what_one_has(shards: Path, features: Path) -> None:
    cached = [cached_features(TaggerTower(), file, features) for file in find_shards([shards], "train")]

    def numbers(batch: int, rank: int, ranks: int, start: int = 0) -> list[tuple[int, str, str]]:
        stream = iter(FeatureStream(cached, PairText(), batch, rank, ranks, start=start))
        items = [next(stream) for _ in range(batch * 6)]
        return [(item["number"], item["track"], item["caption"]) for item in items]

    one, two = numbers(4, 0, 1), numbers(2, 0, 2) + numbers(2, 1, 2)
    assert sorted(two) == one
    assert numbers(4, 0, 1, start=2)[:4] == one[8:12]
