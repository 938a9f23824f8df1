from __future__ import annotations

import pickle

import pytest

from lightning_n2m.data.cache import Cache
from lightning_n2m.data.schema import Shard
from lightning_n2m.data.shard_list import ShardList
from lightning_n2m.data.shard_reader import ShardFile

FILES = [
    ShardFile(
        f"folder{i % 3}",
        Shard(f"audio-{i:06d}.tar", "test" if i % 2 else "train", i, 30.5 * i, 1 << i, f"{i:064x}"),
        form="mel" if i % 5 == 0 else "",
        cache=Cache("kept", 1.5) if i % 4 == 0 else None,
    )
    for i in range(20)
]


def test_a_list_holds_its_shards_in_order_also_after_pickling():
    files = ShardList(FILES)
    assert list(files) == FILES
    assert list(pickle.loads(pickle.dumps(files))) == FILES
    assert (len(files), files[3], files[-1], files[2:9:3]) == (20, FILES[3], FILES[-1], FILES[2:9:3])


def test_a_position_beyond_the_list_is_an_index_error():
    for position in (20, -21):
        with pytest.raises(IndexError):
            ShardList(FILES)[position]


def test_a_long_list_takes_little_memory_in_a_worker():
    files = ShardList(
        ShardFile("folder", Shard(f"audio-{i:06d}.tar", "train", 96, 2880.0, 1 << 26, f"{i:064x}"))
        for i in range(10_000)
    )
    assert len(pickle.dumps(files)) < 100 * 10_000
