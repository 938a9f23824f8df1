"""The training stream: the order of clips is a pure function of (seed, epoch, rank, worker).

Every loader worker of every rank reads streams of its own, without end. A stream is identified by its
number; a resumed run computes its position from the clip counts of the shards, opens the shard in which
the earlier run stopped, and continues with the next clip. Ranks never get different numbers of batches,
because no stream ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.mixture import Mixture
from lightning_n2m.data.shard_reader import ShardFile, read_shard
from lightning_n2m.data.shard_sources import Source
from lightning_n2m.data.stream_order import StreamOrder
from lightning_n2m.errors import InputError


class TrainingStream(IterableDataset):
    """Examples without end for one rank, distributed over its loader workers.

    Batches of a rank come from its workers in turn: batch ``j`` comes from worker ``j mod workers``. A
    resumed run begins with the worker whose turn it is.

    Args:
        files: All shards of the training split, or several sources with weights.
        decoder: Turns a clip into an example.
        batch_size: Clips in a batch of this rank.
        rank: Rank of this process.
        world_size: Number of processes.
        workers: Loader workers of each rank; 0 counts as one.
        streams: Streams for each worker over all ranks, a multiple of the world size. The order of the
            data depends on it and not on the world size, so that a run which fixes it can resume on
            more or fewer ranks. The world size when null.
        seed: Seed of the order.
        group: Shards whose clips are shuffled together.
        start: Batches that this rank has already read.

    Raises:
        InputError: if there are fewer shards than streams, or the streams cannot fill a batch evenly.
    """

    def __init__(
        self,
        files: Sequence[ShardFile] | Sequence[Source],
        decoder: ClipDecoder,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        streams: int | None = None,
        seed: int = 0,
        group: int = 4,
        start: int = 0,
    ) -> None:
        self.decoder, self.batch_size = decoder, batch_size
        given = [item for item in files if isinstance(item, Source)]
        self.sources = given or [Source(tuple(item for item in files if isinstance(item, ShardFile)))]
        self.rank, self.world_size, self.workers = rank, world_size, max(1, workers)
        self.streams = streams or world_size
        self.seed, self.group, self.start = seed, group, start
        needed = self.streams * self.workers
        if self.streams % world_size:
            raise InputError(
                f"data.streams is {self.streams}, not a multiple of the {world_size} ranks; choose a "
                "multiple."
            )
        fewest = min((source.files for source in self.sources), key=len)
        if len(fewest) < needed:
            workable = len(fewest) // self.streams
            place = f" in {fewest[0].folder}" if len(self.sources) > 1 else ""
            raise InputError(
                f"There are {len(fewest)} training shards{place}, but {needed} streams read at once "
                "(data.num_workers x ranks); build more, smaller shards"
                + (f" or lower data.num_workers to {workable}." if workable else " or use fewer ranks.")
            )
        if batch_size % (self.streams // world_size):
            raise InputError(
                f"data.batch_size {batch_size} cannot be filled evenly from {self.streams // world_size} "
                "streams a rank; choose a multiple."
            )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Examples of the calling worker."""
        info = get_worker_info()
        worker = ((info.id if info else 0) + self.start) % self.workers
        own = range(self.rank, self.streams, self.world_size)
        done = (self.start + self.workers - 1 - worker) // self.workers  # finished batches of this worker
        position = done * self.batch_size // len(own)
        numbers = [worker * self.streams + s for s in own]
        total = self.streams * self.workers
        orders = [self._mixture(total, number).clips(position) for number in numbers]
        while True:
            for number, clips in zip(numbers, orders, strict=True):
                example = self.decoder(next(clips), position * total + number)
                yield example | {"stream": number, "position": position}
            position += 1

    def _mixture(self, total: int, number: int) -> Mixture:
        orders = [StreamOrder(source.files, total, number, self.seed, self.group) for source in self.sources]
        return Mixture(tuple(orders), tuple(source.weight for source in self.sources), self.seed, number)


class FixedClips(IterableDataset):
    """The same clips every time, in equal numbers for all ranks.

    Clips are spread evenly over the shards. There is at least one for each rank: a split that holds fewer
    clips than there are ranks gives some of them to several ranks.

    Args:
        files: Shards of the split.
        decoder: Makes an example of a clip; it should take the middle.
        clips: Clips of all ranks together, rounded down to a multiple of the ranks; fewer if the split
            holds fewer, more if there are more ranks.
        rank: Rank of this process.
        world_size: Number of processes.

    Raises:
        InputError: if the split holds no clips.
    """

    def __init__(
        self, files: Sequence[ShardFile], decoder: ClipDecoder, clips: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.files, self.decoder = tuple(files), decoder
        self.rank, self.world_size = rank, world_size
        self.total = sum(file.shard.clips for file in files)
        if not self.total:
            raise InputError("The split holds no clips; build shards from more tracks.")
        available = min(clips, self.total)
        self.clips = max(world_size, available - available % world_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Examples of this rank."""
        # Position within the split, and number, of each clip of this rank, in order of position.
        own = deque((i * self.total // self.clips, i) for i in range(self.rank, self.clips, self.world_size))
        first = 0  # position of the first clip of a shard
        for file in self.files:
            end = first + file.shard.clips
            numbers: dict[int, list[int]] = {}
            while own and own[0][0] < end:
                position, number = own.popleft()
                numbers.setdefault(position, []).append(number)
            if numbers:
                for position, raw in enumerate(read_shard(file), start=first):
                    for number in numbers.get(position, ()):
                        yield self.decoder(raw, number)
            first = end
