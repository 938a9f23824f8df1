"""Several sources as one stream with exact shares, as a pure function of the seed."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from lightning_n2m.data.shard_reader import RawClip
from lightning_n2m.data.stream_order import StreamOrder
from lightning_n2m.seeding import derive_seed

_BLOCK = 64  # Clips within which shares are exact, up to one clip.


@dataclass(frozen=True)
class Mixture:
    """Clips of several sources, distributed by weight.

    The stream is divided into blocks. The number of clips of each source in a block follows from the weights
    alone, and rounding errors do not add up from block to block; only the order within a block is random.
    So the position of every source at any point of the stream is known without reading, as resuming needs.

    Args:
        orders: The sources' own orders.
        weights: Their weights; the sum may be any number.
        seed: Seed of the order.
        stream: Number of the stream.
    """

    orders: tuple[StreamOrder, ...]
    weights: tuple[float, ...]
    seed: int
    stream: int

    def before(self, block: int) -> list[int]:
        """Number of clips of each source in all blocks before one."""
        total = math.fsum(self.weights)
        shares = [weight / total for weight in itertools.accumulate(self.weights)]
        edges = [0, *(math.floor(share * block * _BLOCK) for share in shares[:-1]), block * _BLOCK]
        return [high - low for low, high in itertools.pairwise(edges)]

    def block(self, number: int) -> list[int]:
        """Source of each clip of a block."""
        counts = zip(self.before(number), self.before(number + 1), strict=True)
        sources = [source for source, (low, high) in enumerate(counts) for _ in range(high - low)]
        random.Random(derive_seed(self.seed, "mixture", self.stream, number)).shuffle(sources)
        return sources

    def clips(self, skip: int) -> Iterator[RawClip]:
        """The clips of the stream without end, from number ``skip`` on; skipped clips are not read."""
        if len(self.orders) == 1:
            yield from self.orders[0].clips(skip)
        number, inside = divmod(skip, _BLOCK)
        sources = self.block(number)
        # Clips that each source has given in earlier blocks and in the first part of this one.
        positions = [before + sources[:inside].count(s) for s, before in enumerate(self.before(number))]
        streams = [order.clips(position) for order, position in zip(self.orders, positions, strict=True)]
        while True:
            for source in sources[inside:]:
                yield next(streams[source])
            number, inside = number + 1, 0
            sources = self.block(number)
