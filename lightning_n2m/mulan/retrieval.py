"""How well audio and text find each other: recall in both directions, and tags without training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.classification import multilabel_auroc

RANKS = (1, 5, 10)


@dataclass(frozen=True)
class Retrieval:
    """Shares between 0 and 1.

    Args:
        text_to_audio: By k, share of texts whose clip is among the k nearest.
        audio_to_text: By k, share of clips whose text is among the k nearest.
        chance: By k, what a random order would come to.
        tag_auc: Mean over tags of the area under the ROC curve, where chance is 0.5; NaN without tags.
        clips: Number of clips.
        tags: Number of tags.
    """

    text_to_audio: dict[int, float]
    audio_to_text: dict[int, float]
    chance: dict[int, float]
    tag_auc: float
    clips: int
    tags: int


def recall(scores: Tensor, right: Tensor, k: int) -> float:
    """Share of rows with a right column among the k best.

    Args:
        scores: ``(queries, candidates)``.
        right: Which candidates answer which query, ``(queries, candidates)`` bool.
        k: How many candidates are looked at.
    """
    # A constant score must not win: among equals the right ones come last.
    best_right = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    ahead = ((scores >= best_right) & ~right).sum(dim=1)
    return float((ahead < k).double().mean())


def chance(right: Tensor, k: int) -> float:
    """What a random order of the candidates would score, on average over the queries."""
    candidates = right.shape[1]
    miss = torch.ones(len(right), dtype=torch.double)
    wrong = (~right).sum(dim=1).double()
    for drawn in range(min(k, candidates)):
        miss *= ((wrong - drawn) / (candidates - drawn)).clamp(min=0)
    return float((1 - miss).mean())


def measurable_tags(tags: Sequence[Sequence[str]], minimum: int = 5) -> list[str]:
    """Tags that at least ``minimum`` clips have, and as many do not have."""
    counts: dict[str, int] = {}
    for of_clip in tags:
        for tag in set(of_clip):
            counts[tag] = counts.get(tag, 0) + 1
    return sorted(tag for tag, count in counts.items() if minimum <= count <= len(tags) - minimum)


def tag_auc(scores: Tensor, tags: Sequence[Sequence[str]], measured: Sequence[str]) -> float:
    """Mean area under the ROC curve of scores ``(clips, tags)`` for the tags ``measured``."""
    truth = torch.tensor([[tag in of_clip for tag in measured] for of_clip in tags]).long()
    # Ranks instead of scores: torchmetrics would squash what lies outside [0, 1] and make ties of it.
    places = [torch.unique(column, return_inverse=True)[1] for column in scores.double().T]
    ranks = torch.stack(places, dim=1).double() / len(scores)
    return float(multilabel_auroc(ranks, truth, num_labels=len(measured), average="macro"))


def measure(
    audio: Tensor,
    text: Tensor,
    tracks: Sequence[str],
    tags: Sequence[Sequence[str]],
    measured: Sequence[str],
    tag_vectors: Tensor,
) -> Retrieval:
    """Retrieval between clips and their captions, and zero-shot tags.

    Args:
        audio: Vectors of clips, ``(n, d)``.
        text: Vectors of their captions, ``(n, d)``.
        tracks: Track of each clip: a clip of the same track is a right answer too.
        tags: Tags of each clip.
        measured: Tags to measure.
        tag_vectors: Vectors of these, ``(tags, d)``.
    """
    scores = text.double() @ audio.double().T
    right = torch.tensor([[one == other for other in tracks] for one in tracks])
    return Retrieval(
        {k: recall(scores, right, k) for k in RANKS},
        {k: recall(scores.T, right, k) for k in RANKS},
        {k: chance(right, k) for k in RANKS},
        tag_auc(audio.double() @ tag_vectors.double().T, tags, measured) if measured else math.nan,
        len(tracks),
        len(measured),
    )
