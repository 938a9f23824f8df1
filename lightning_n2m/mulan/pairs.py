"""Pairs of a clip and a text: what the two towers are trained and measured on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor

from lightning_n2m.data.schema import Captions, Clip
from lightning_n2m.data.text_batch import long_texts, short_texts
from lightning_n2m.seeding import derive_seed


class PairBatch(TypedDict, total=False):
    """A batch for the two towers.

    Either ``features`` ``(b, windows, ...)`` that a frozen network has computed before, or ``audio``
    ``(b, 1, t)``; the caption, the track and the tags of each clip, and the sample's number ``(b,)``.
    """

    features: Tensor
    audio: Tensor
    caption: list[str]
    track: list[str]
    tags: list[list[str]]
    number: Tensor


Pair = dict[str, Any]  # One row of such a batch.


@dataclass(frozen=True)
class PairText:
    """Draws the text of a pair; pseudo-labels are no texts to learn from, since this model makes them.

    Args:
        sentences: Share of pairs whose text is one sentence; of the others it is one to four tags.
        variants: Choices of tags for a clip: finite, so that the language model can cache them.
    """

    sentences: float = 0.5
    variants: int = 4

    def draw(self, clip: Clip, captions: Captions | None, draw: random.Random) -> str:
        """One text; an empty one where nothing is known."""
        long, short = long_texts(clip, None), short_texts(clip, None)
        if long and (not short or draw.random() < self.sentences):
            return draw.choice(long)
        tags = random.Random(derive_seed(clip.key, "tags", draw.randrange(self.variants)))
        return ", ".join(tags.sample(short, min(len(short), tags.randint(1, 4))))

    def query(self, clip: Clip) -> str:
        """The query for a clip: all of its sentences, or else its tags."""
        return " ".join(long_texts(clip, None)) or ", ".join(short_texts(clip, None))


def tags_of(clip: Clip) -> list[str]:
    """Genres and tags of a clip, once each."""
    return list(dict.fromkeys([*clip.genres, *clip.tags]))


def collate(items: Sequence[Pair]) -> PairBatch:
    """Stack tensors, list everything else."""
    columns: dict[str, Any] = {key: [item[key] for item in items] for key in items[0]}
    columns["number"] = torch.tensor(columns["number"])
    for key in ("features", "audio"):
        if key in columns:
            columns[key] = torch.stack(columns[key])
    return columns  # type: ignore[return-value]
