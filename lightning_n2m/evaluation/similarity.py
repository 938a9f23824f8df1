"""Similarity of audio to its prompt and to the real clip, beside a shuffled baseline (paper, table 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_n2m.audio.resample import resample
from lightning_n2m.backbones import musicnn
from lightning_n2m.evaluation.embedders import JUDGE
from lightning_n2m.evaluation.tags import hear, named
from lightning_n2m.mulan.joint import JointModel, embed_clips


class TagSpace:
    """A joint space without training: the 50 tags that the judging tagger hears and a prompt can name.

    A clip's vector is how much more of each tag is heard than in music at large; a text's is which tags
    it names, beside how often texts do. It stands in where no joint model is at hand, and is the line
    that one has to beat.

    Args:
        logits: Tags heard in training music, ``(clips, 50)``: the measure of "more than usual".
    """

    sample_rate = musicnn.SAMPLE_RATE
    dimension = len(musicnn.TAGS[JUDGE])

    def __init__(self, logits: Tensor) -> None:
        self.name = f"tags of musicnn-{JUDGE}"
        self.mean, self.std = logits.mean(dim=0), logits.std(dim=0)

    def place(self, logits: Tensor) -> Tensor:
        """Unit vectors of clips whose tags were heard, ``(b, 50)``."""
        return F.normalize((logits - self.mean) / self.std, dim=1)

    def embed_audio(self, audio: Tensor) -> Tensor:
        """ClipPairs ``(b, t)`` at 16 kHz to unit vectors ``(b, 50)``."""
        return self.place(hear(audio[:, None], self.sample_rate).logits)

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit vectors ``(n, 50)``; zero for one that names no tag."""
        tags = musicnn.TAGS[JUDGE]
        found = torch.tensor([[float(tag in named(text)) for tag in tags] for text in texts])
        return F.normalize(found, dim=1)


def clip_vectors(model: JointModel, audio: Tensor, sample_rate: int) -> Tensor:
    """Unit vectors ``(b, d)`` of clips ``(b, 1, t)`` of any rate."""
    return embed_clips(model, resample(audio.squeeze(1), sample_rate, model.sample_rate))


@dataclass(frozen=True)
class Similarity:
    """Mean cosine of pairs, and of the same vectors in pairs that do not belong together."""

    value: float
    shuffled: float
    n: int


def similarity(one: Tensor, other: Tensor) -> Similarity:
    """Mean cosine of rows ``(n, d)`` that belong together, and of all other pairs.

    The paper shuffles once; the mean over all wrong pairs is what many shuffles tend to.
    """
    cosines = F.normalize(one.double(), dim=1) @ F.normalize(other.double(), dim=1).T
    n = len(cosines)
    together = float(cosines.diagonal().mean())
    apart = float((cosines.sum() - cosines.trace()) / (n * (n - 1)))
    return Similarity(together, apart, n)
