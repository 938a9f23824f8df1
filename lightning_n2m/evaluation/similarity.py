"""Similarity of audio to its prompt and to the reference clip, beside shuffled pairs (paper, table 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_n2m.audio.resample import resample
from lightning_n2m.backbones import musicnn
from lightning_n2m.evaluation.embedders import MUSICNN
from lightning_n2m.evaluation.tagger import TAGS, predict_tags, tags_in_prompt
from lightning_n2m.mulan.joint import JointModel, embed_clips


class TagSpace:
    """A joint space without training: the 50 tags of the evaluating tagger, which a prompt can name.

    The vector of a clip is the excess of each tag's log-odds over that of music in general. The vector of a
    text says which tags it names. It replaces a joint model where none is available, and is the baseline of
    one.

    Args:
        logits: Log-odds of the tags in training music, ``(clips, 50)``, which define "music in general".
    """

    sample_rate = musicnn.SAMPLE_RATE
    dimension = len(TAGS)

    def __init__(self, logits: Tensor) -> None:
        self.name = f"tags of {MUSICNN}"
        self.mean = logits.mean(dim=0)
        self.std = logits.std(dim=0, correction=0).clamp(min=1e-6)

    def project(self, logits: Tensor) -> Tensor:
        """Unit vectors of clips from the log-odds of their tags, ``(b, 50)``."""
        return F.normalize((logits - self.mean) / self.std, dim=1)

    def embed_audio(self, audio: Tensor) -> Tensor:
        """Clips ``(b, t)`` at 16 kHz to unit vectors ``(b, 50)``."""
        return self.project(predict_tags(audio[:, None], self.sample_rate).logits)

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit vectors ``(n, 50)``; zero for one that names no tag."""
        rows = []
        for text in texts:
            named = tags_in_prompt(text)
            rows.append([float(tag in named) for tag in TAGS])
        return F.normalize(torch.tensor(rows), dim=1)


def clip_vectors(model: JointModel, audio: Tensor, sample_rate: int) -> Tensor:
    """Unit vectors ``(b, d)`` of clips ``(b, 1, t)`` of any rate."""
    return embed_clips(model, resample(audio.squeeze(1), sample_rate, model.sample_rate))


@dataclass(frozen=True)
class Similarity:
    """Mean cosine of matching pairs, and of the same vectors in shuffled pairs.

    Args:
        value: Mean cosine of matching pairs.
        shuffled: Mean cosine of all other pairs; NaN for a single pair.
        n: Number of matching pairs.
    """

    value: float
    shuffled: float
    n: int


def similarity(one: Tensor, other: Tensor) -> Similarity:
    """Mean cosine of matching rows ``(n, d)``, and of all other pairs of rows.

    The paper shuffles once; the mean over all other pairs is the expectation of a shuffle.
    """
    cosines = F.normalize(one.double(), dim=1) @ F.normalize(other.double(), dim=1).T
    n = len(cosines)
    matching = float(cosines.diagonal().mean())
    shuffled = float((cosines.sum() - cosines.trace()) / (n * (n - 1))) if n > 1 else math.nan
    return Similarity(matching, shuffled, n)
