"""Order of the clips of one stream: a pure function of the seed and the stream's number."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lightning_n2m.data.shard_reader import RawClip, ShardFile, read_shard
from lightning_n2m.seeding import derive_seed


@dataclass(frozen=True)
class StreamOrder:
    """Order of the clips of one stream.

    Args:
        files: All shards of the split.
        streams: Number of streams over all ranks and workers.
        stream: Number of this stream.
        seed: Seed of the order.
        group: Shards whose clips are shuffled together and held in memory at a time.
    """

    files: Sequence[ShardFile]
    streams: int
    stream: int
    seed: int
    group: int

    def groups(self, epoch: int) -> list[list[ShardFile]]:
        """Shards of this stream in one epoch, in groups that are shuffled together."""
        # Numbers are shuffled instead of shards, so that only the shards of this stream are built.
        order = list(range(len(self.files)))
        random.Random(derive_seed(self.seed, "shards", epoch)).shuffle(order)
        own = [self.files[i] for i in order[self.stream :: self.streams]]
        return [own[i : i + self.group] for i in range(0, len(own), self.group)]

    def clips(self, skip: int) -> Iterator[RawClip]:
        """The clips of the stream without end, from number ``skip`` on; skipped shards are not read."""
        epoch = 0
        while True:
            for number, group in enumerate(self.groups(epoch)):
                count = sum(file.shard.clips for file in group)
                if skip >= count:
                    skip -= count
                    continue
                clips = [clip for file in group for clip in read_shard(file)]
                random.Random(derive_seed(self.seed, "clips", epoch, self.stream, number)).shuffle(clips)
                yield from clips[skip:]
                skip = 0
            epoch += 1
