"""Whether a generated clip repeats a training clip, by ear and by waveform.

The paper says only that examples were checked for duplicates (section 7). Here each clip is compared with
every training clip in two ways, and each way is calibrated on known duplicates before it is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Match:
    """The training clip that is nearest to a generated one.

    Args:
        nearest: Its place among the training clips.
        embedding: Cosine of the two, patch by patch in order, at the best alignment.
        waveform: Largest normalised cross-correlation, over the candidates that embeddings chose.
        waveform_nearest: The candidate where it was found.
    """

    nearest: int
    embedding: float
    waveform: float
    waveform_nearest: int


@dataclass(frozen=True)
class Threshold:
    """Above which a likeness counts as repetition.

    Args:
        value: The threshold: halfway between the two below, or the first where they overlap.
        strangers: The largest likeness of real music that is in no training set to its nearest training clip.
        duplicates: The 5th percentile of the likeness of known duplicates to their originals.
    """

    value: float
    strangers: float
    duplicates: float


def threshold(strangers: Tensor, duplicates: Tensor) -> Threshold:
    """Calibrate on likenesses of strangers ``(n,)`` and of duplicates ``(m,)``."""
    high, low = float(strangers.max()), float(duplicates.double().quantile(0.05))
    return Threshold(max(high, (high + low) / 2), high, low)


class Archive:
    """The training clips as the judging tagger heard them.

    Args:
        patches: Embeddings of patches in order, ``(clips, patches, d)``.
    """

    def __init__(self, patches: Tensor) -> None:
        # What all music shares says nothing of repetition: the mean is taken out, each axis weighs the same.
        flat = patches.flatten(0, 1)
        self.mean, self.std = flat.mean(dim=0), flat.std(dim=0).clamp(min=1e-6)
        self.patches = self._place(patches)

    def _place(self, patches: Tensor) -> Tensor:
        return F.normalize((patches - self.mean) / self.std, dim=-1).double()

    def likeness(self, patches: Tensor) -> Tensor:
        """Mean cosine of the patches of clips ``(b, p, d)`` to as many in a row of each training clip.

        The best of all places where the row may begin counts: ``(b, clips)``.
        """
        mine = self._place(patches)
        length = mine.shape[1]
        places = self.patches.shape[1] - length + 1
        best = None
        for start in range(places):
            there = self.patches[:, start : start + length]
            cosines = mine.flatten(1) @ there.flatten(1).T / length
            best = cosines if best is None else torch.maximum(best, cosines)
        assert best is not None
        return best


def correlation(one: Tensor, other: Tensor) -> float:
    """Largest normalised cross-correlation of ``(t,)`` with any stretch of ``(u,)``, u at least t: 0 to 1."""
    one, other = one.double() - one.double().mean(), other.double()
    size = 1 << (one.numel() + other.numel() - 1).bit_length()
    product = torch.fft.irfft(torch.fft.rfft(other, size) * torch.fft.rfft(one, size).conj(), size)
    count = other.numel() - one.numel() + 1
    # Sum and energy of every stretch, by differences of running sums; each is compared without its mean.
    sums, squares = (F.pad(x.cumsum(0), (1, 0)) for x in (other, other.square()))
    total, energy = (x[one.numel() :] - x[:count] for x in (sums, squares))
    norm = (energy - total.square() / one.numel()).clamp(min=1e-12).sqrt() * one.norm().clamp(min=1e-6)
    return float((product[:count].abs() / norm).max().clamp(max=1.0))


def find_matches(
    patches: Sequence[Tensor],
    audio: Sequence[Tensor],
    archive: Archive,
    fetch: Callable[[Sequence[int]], dict[int, Tensor]],
    candidates: int = 3,
    without: Sequence[int] | None = None,
) -> list[Match]:
    """Compare clips with the archive.

    Args:
        patches: For each clip, its embeddings at several offsets, ``(offsets, p, d)``: training patches begin
            every 3 s, and a repetition need not.
        audio: Each clip at a low rate, ``(t,)``.
        archive: The training clips.
        fetch: Training audio ``(u,)`` at the same rate, by place.
        candidates: How many clips, nearest by embedding, are compared by waveform.
        without: For each clip, a place that is left out; -1 for none.
    """
    likeness = torch.stack([archive.likeness(p).amax(dim=0) for p in patches])
    if without is not None:
        for row, place in enumerate(without):
            if place >= 0:
                likeness[row, place] = -1.0
    best = likeness.topk(min(candidates, likeness.shape[1]), dim=1)
    training = fetch(sorted(set(best.indices.flatten().tolist())))
    matches = []
    for row, places in enumerate(best.indices.tolist()):
        waves = [correlation(audio[row], training[place]) for place in places]
        wave = max(range(len(waves)), key=waves.__getitem__)
        matches.append(Match(places[0], float(best.values[row, 0]), waves[wave], places[wave]))
    return matches
