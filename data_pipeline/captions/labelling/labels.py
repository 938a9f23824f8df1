"""The labels of one vocabulary: nearest captions, how often each is one, and what was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from data_pipeline.captions.embeddings import Embeddings
from data_pipeline.captions.labelling.draw import draw
from data_pipeline.captions.vocabulary.table import Texts
from lightning_n2m.data.schema import Captions, Clip, Shard
from lightning_n2m.errors import InputError
from lightning_n2m.storage import join, locate, write_atomic


@dataclass(frozen=True)
class Labels:
    """Labels out of one vocabulary.

    Args:
        embeddings: Where the nearest captions are kept.
        texts: The vocabulary.
        top: Nearest captions of a clip (K).
        keep: Captions that a clip keeps (K').
        seed: Seed of the draw.
        counts: How often each caption is among the nearest, over all clips.
    """

    embeddings: Embeddings
    texts: Texts
    top: int
    keep: int
    seed: int
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def counted(self, shards: Sequence[Shard]) -> Labels:
        """The same, with the counts over some shards."""
        counts = np.zeros(len(self.texts.texts), np.int64)
        for shard in shards:
            counts += np.bincount(self.nearest(shard).ravel(), minlength=len(counts))
        return replace(self, counts=counts)

    def clips(self, shard: Shard) -> list[Clip]:
        """The clips of a shard."""
        return self.embeddings.read_clips(shard)[0]

    def nearest(self, shard: Shard) -> NDArray[np.int32]:
        """Numbers of the nearest captions of the clips of a shard, nearest first, ``(clips, top)``.

        Raises:
            InputError: if they are damaged.
        """
        path = self.embeddings.nearest(shard, self.texts, self.top)
        try:
            found: NDArray[np.int32] = np.load(path, mmap_mode="r")
            if found.shape != (shard.clips, self.top) or not 0 <= found.min() <= found.max() < len(
                self.texts.texts
            ):
                raise ValueError(f"shape {found.shape}")
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it and label again.") from error
        return found

    def positions(self, shard: Shard) -> list[list[int]]:
        """Numbers of the captions that were drawn for each clip of a shard."""
        found = []
        for clip, row in zip(self.clips(shard), self.nearest(shard).tolist(), strict=True):
            texts = [self.texts.texts[number] for number in row]
            counts = self.counts[row].tolist()
            found.append([row[i] for i in draw(self.seed, clip.key, texts, counts, self.keep)])
        return found

    def drawn(self, shard: Shard) -> list[tuple[str, ...]]:
        """The captions that were drawn for each clip of a shard."""
        return [tuple(self.texts.texts[number] for number in row) for row in self.positions(shard)]


def write_labels(folder: str, shards: Sequence[Shard], labels: Sequence[Labels]) -> None:
    """Write captions-*.jsonl, each of them whole or as it was."""
    for shard in shards:
        lines = []
        drawn = {item.texts.vocabulary: item.drawn(shard) for item in labels}
        for number, clip in enumerate(labels[0].clips(shard)):
            of = {name: found[number] for name, found in drawn.items()}
            long = tuple(dict.fromkeys((*of.get("lm-lf", ()), *of.get("rater-lf", ()))))
            lines.append(Captions(clip.key, long, of.get("rater-sf", ())).to_json() + "\n")
        write_atomic(join(locate(folder), shard.captions_name), "".join(lines))
