"""Pairs of text and cached features: an endless stream for training, whole clips for validation."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset, IterableDataset

from lightning_n2m.mulan.feature_cache import CachedFeatures
from lightning_n2m.mulan.pairs import Pair, PairText, tags_of
from lightning_n2m.seeding import derive_seed


class FeatureStream(IterableDataset):
    """Endless pairs of features and text for one rank.

    Every epoch is an order of all clips of its own; sample ``n`` of the whole training is the same
    clip, window and text whatever the number of ranks.

    Args:
        cached: Features of the training shards.
        text: How the text is drawn.
        batch_size: Pairs in a batch of this rank.
        rank: Rank of this process.
        ranks: Number of processes.
        seed: Seed of order, windows and texts.
        start: Batches that this rank has already had.
    """

    def __init__(
        self,
        cached: Sequence[CachedFeatures],
        text: PairText,
        batch_size: int,
        rank: int = 0,
        ranks: int = 1,
        seed: int = 0,
        start: int = 0,
    ) -> None:
        self.cached, self.text, self.batch_size = cached, text, batch_size
        self.rank, self.ranks, self.seed, self.start = rank, ranks, seed, start
        self.places = [(shard, row) for shard, part in enumerate(cached) for row in range(len(part.clips))]

    def __iter__(self) -> Iterator[Pair]:
        """Pairs of this rank: each global batch is dealt to the ranks in order."""
        batch = self.start
        order, epoch = list(self.places), -1
        while True:
            for row in range(self.batch_size):
                number = (batch * self.ranks + self.rank) * self.batch_size + row
                if number // len(order) != epoch:
                    epoch = number // len(order)
                    order = list(self.places)
                    random.Random(derive_seed(self.seed, "clips", epoch)).shuffle(order)
                yield self._pair(*order[number % len(order)], number)
            batch += 1

    def _pair(self, shard: int, row: int, number: int) -> Pair:
        part = self.cached[shard]
        clip, draw = part.clips[row], random.Random(derive_seed(self.seed, "pair", number))
        window = draw.randrange(part.features.shape[1])
        return {
            "features": torch.from_numpy(part.features[row, window : window + 1].copy()),
            "caption": self.text.draw(clip, None, draw),
            "track": clip.track_id,
            "tags": tags_of(clip),
            "number": number,
        }


class FeatureClips(Dataset):
    """Whole clips by their features, evenly spread over a split.

    Args:
        cached: Features of the shards of the split.
        text: How the query of a clip is built.
        clips: How many, at most.
    """

    def __init__(self, cached: Sequence[CachedFeatures], text: PairText, clips: int) -> None:
        self.cached, self.text = cached, text
        places = [(shard, row) for shard, part in enumerate(cached) for row in range(len(part.clips))]
        self.places = (
            [places[i * len(places) // clips] for i in range(clips)] if clips < len(places) else places
        )

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Pair:
        """One clip."""
        shard, row = self.places[number]
        clip = self.cached[shard].clips[row]
        return {
            "features": torch.from_numpy(self.cached[shard].features[row].copy()),
            "caption": self.text.query(clip),
            "track": clip.track_id,
            "tags": tags_of(clip),
            "number": number,
        }
