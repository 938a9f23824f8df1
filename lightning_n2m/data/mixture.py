"""Several sources as one stream, each with its share: exact, and a pure function of the seed."""

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
    """Clips of several orders, dealt by weight.

    The stream is cut into blocks. How many clips of a block come from which source follows from the
    weights alone (what rounding takes from one block, the next gives back), only their order within the
    block is drawn. So the place of every source at any position of the stream is known without
    reading, which is what resuming needs.

    Args:
        orders: The sources' own orders.
        weights: Their weights, of any sum.
        seed: Seed of the order.
        stream: Number of the stream.
    """

    orders: tuple[StreamOrder, ...]
    weights: tuple[float, ...]
    seed: int
    stream: int

    def before(self, block: int) -> list[int]:
        """Clips of each source in all blocks before this one."""
        total = math.fsum(self.weights)
        shares = [weight / total for weight in itertools.accumulate(self.weights)]
        edges = [0, *(math.floor(share * block * _BLOCK) for share in shares[:-1]), block * _BLOCK]
        return [high - low for low, high in itertools.pairwise(edges)]

    def block(self, number: int) -> list[int]:
        """Numbers of the sources that the clips of a block come from."""
        counts = zip(self.before(number), self.before(number + 1), strict=True)
        dealt = [source for source, (low, high) in enumerate(counts) for _ in range(high - low)]
        random.Random(derive_seed(self.seed, "mixture", self.stream, number)).shuffle(dealt)
        return dealt

    def clips(self, skip: int) -> Iterator[RawClip]:
        """The clips of the stream without end, from the ``skip``-th on; what is skipped is not read."""
        if len(self.orders) == 1:
            yield from self.orders[0].clips(skip)
        number, inside = divmod(skip, _BLOCK)
        dealt = self.block(number)
        places = [before + dealt[:inside].count(s) for s, before in enumerate(self.before(number))]
        streams = [order.clips(place) for order, place in zip(self.orders, places, strict=True)]
        while True:
            for source in dealt[inside:]:
                yield next(streams[source])
            number, inside = number + 1, 0
            dealt = self.block(number)
