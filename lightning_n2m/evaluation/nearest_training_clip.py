"""The training clip nearest to a generated clip, by embeddings and by waveform.

The paper only says that examples were checked for duplicates (section 7). Here each clip is compared with
every training clip in two ways, and both thresholds are calibrated on known duplicates.
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
        nearest: Number of the training clip.
        embedding: Mean cosine of both clips, patch by patch in order, at the best alignment.
        waveform: Largest normalised cross-correlation, over the candidates that embeddings selected.
        waveform_nearest: Number of the candidate with that correlation.
    """

    nearest: int
    embedding: float
    waveform: float
    waveform_nearest: int


@dataclass(frozen=True)
class Threshold:
    """Similarity above which a clip counts as a repetition.

    Args:
        value: The threshold: halfway between the two below, or the first where they overlap.
        held_out: Largest similarity of a held-out recording to its nearest training clip.
        duplicates: 5th percentile of the similarity of known duplicates to their originals.
    """

    value: float
    held_out: float
    duplicates: float


def calibrate_threshold(held_out: Tensor, duplicates: Tensor) -> Threshold:
    """Calibrate on similarities of held-out recordings ``(n,)`` and of known duplicates ``(m,)``."""
    high, low = float(held_out.max()), float(duplicates.double().quantile(0.05))
    return Threshold(max(high, (high + low) / 2), high, low)


class TrainingIndex:
    """Normalised embeddings of the training clips.

    Args:
        patches: Embeddings of patches in order, ``(clips, patches, d)``; NaN after the end of a shorter clip.
    """

    def __init__(self, patches: Tensor) -> None:
        # The mean of all music says nothing about repetition, so it is subtracted; all axes weigh the same.
        rows = patches.flatten(0, 1)
        rows = rows[~rows.isnan().any(dim=1)]
        self.mean, self.std = rows.mean(dim=0), rows.std(dim=0).clamp(min=1e-6)
        self.patches = self._normalise(patches).nan_to_num(0.0)

    def _normalise(self, patches: Tensor) -> Tensor:
        return F.normalize((patches - self.mean) / self.std, dim=-1).double()

    def similarities(self, patches: Tensor) -> Tensor:
        """Mean cosine of the patches of clips ``(b, p, d)`` to ``p`` successive ones of each training clip.

        Returns:
            ``(b, clips)``, the largest value over all positions in the training clip.
        """
        queries = self._normalise(patches)
        length = min(queries.shape[1], self.patches.shape[1])
        queries = queries[:, :length]
        best = torch.full((len(queries), len(self.patches)), -1.0, dtype=torch.float64)
        for start in range(self.patches.shape[1] - length + 1):
            part = self.patches[:, start : start + length]
            cosines = queries.flatten(1) @ part.flatten(1).T / length
            best = torch.maximum(best, cosines)
        return best


def correlation(one: Tensor, other: Tensor) -> float:
    """Largest absolute normalised cross-correlation, 0 to 1, of the shorter with any part of the longer.

    Args:
        one: ``(t,)``.
        other: ``(u,)``.
    """
    short, long = (one, other) if one.numel() <= other.numel() else (other, one)
    short, long = short.double() - short.double().mean(), long.double()
    size = 1 << (short.numel() + long.numel() - 1).bit_length()
    product = torch.fft.irfft(torch.fft.rfft(long, size) * torch.fft.rfft(short, size).conj(), size)
    count = long.numel() - short.numel() + 1
    # Sum and energy of every part of the longer signal, from running sums; its own mean is subtracted.
    sums, squares = (F.pad(x.cumsum(0), (1, 0)) for x in (long, long.square()))
    total, energy = (x[short.numel() :] - x[:count] for x in (sums, squares))
    norm = (energy - total.square() / short.numel()).clamp(min=1e-12).sqrt() * short.norm().clamp(min=1e-6)
    return float((product[:count].abs() / norm).max().clamp(max=1.0))


def find_matches(
    patches: Sequence[Tensor],
    audio: Sequence[Tensor],
    index: TrainingIndex,
    fetch: Callable[[Sequence[int]], dict[int, Tensor]],
    candidates: int = 3,
) -> list[Match]:
    """Find the nearest training clip of each clip.

    Args:
        patches: For each clip, its embeddings at several offsets, ``(offsets, p, d)``: training patches begin
            every 3 s, and a repetition may begin anywhere.
        audio: Each clip at a low rate, ``(t,)``.
        index: The training clips.
        fetch: Returns training audio ``(u,)`` at the same rate, by number.
        candidates: Number of clips, nearest by embedding, that are compared by waveform.
    """
    similarities = torch.stack([index.similarities(clip).amax(dim=0) for clip in patches])
    best = similarities.topk(min(candidates, similarities.shape[1]), dim=1)
    training = fetch(sorted(set(best.indices.flatten().tolist())))
    matches = []
    for row, numbers in enumerate(best.indices.tolist()):
        correlations = [correlation(audio[row], training[number]) for number in numbers]
        place = max(range(len(correlations)), key=correlations.__getitem__)
        matches.append(
            Match(numbers[0], float(best.values[row, 0]), correlations[place], numbers[place]),
        )
    return matches
