"""The order of clips in one stream."""

from __future__ import annotations

import itertools
from collections import Counter

from lightning_n2m.data import stream_order
from lightning_n2m.data.shard_reader import find_shards, read_shard
from lightning_n2m.data.stream_order import StreamOrder


def test_an_epoch_of_a_stream_visits_each_of_its_clips_once(build):
    files = tuple(find_shards([build([5, 3, 4, 6, 2])], "train"))
    for stream in range(2):
        order = StreamOrder(files, 2, stream, seed=0, group=2)
        epochs = [
            sum(file.shard.clips for group in order.groups(epoch) for file in group) for epoch in (0, 1)
        ]
        drawn = [raw.clip.key for raw in itertools.islice(order.clips(0), sum(epochs))]
        for epoch, visited in ((0, drawn[: epochs[0]]), (1, drawn[epochs[0] :])):
            own = [
                raw.clip.key for group in order.groups(epoch) for file in group for raw in read_shard(file)
            ]
            assert Counter(visited) == Counter(own)
            assert visited != own


def test_streams_share_out_the_shards_of_every_epoch_and_epochs_differ(build):
    files = tuple(find_shards([build([1] * 7)], "train"))
    dealt = []
    for epoch in range(3):
        own = [
            [file for group in StreamOrder(files, 3, stream, 0, 4).groups(epoch) for file in group]
            for stream in range(3)
        ]
        assert Counter(itertools.chain(*own)) == Counter(files)
        dealt.append(own)
    assert dealt[0] != dealt[1] != dealt[2]


def test_clips_of_one_shard_come_in_a_new_order_every_epoch(build):
    files = tuple(find_shards([build([8])], "train"))
    drawn = [raw.clip.key for raw in itertools.islice(StreamOrder(files, 1, 0, 0, 1).clips(0), 24)]
    epochs = [drawn[:8], drawn[8:16], drawn[16:]]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_clips_of_shards_of_one_group_are_mixed(build):
    files = tuple(find_shards([build([20, 20])], "train"))
    drawn = [raw.clip.key[:8] for raw in itertools.islice(StreamOrder(files, 1, 0, 0, group=2).clips(0), 20)]
    assert 4 < drawn.count("shards00") < 16


def test_what_is_skipped_is_not_read(build, monkeypatch):
    files = tuple(find_shards([build([4, 4, 4, 4])], "train"))
    opened = []
    monkeypatch.setattr(stream_order, "read_shard", lambda file: opened.append(file) or read_shard(file))
    order = StreamOrder(files, 1, 0, seed=0, group=1)
    everything = [raw.clip.key for raw in itertools.islice(order.clips(0), 40)]
    opened.clear()
    assert [raw.clip.key for raw in itertools.islice(order.clips(30), 10)] == everything[30:]
    assert len(opened) == 3  # the second half of one shard and two more
