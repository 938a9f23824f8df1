"""Kernel audio distance (KAD; Chung et al. 2025, arXiv 2502.15602): an unbiased maximum mean discrepancy.

Unlike the Fréchet distance it assumes no Gaussian, and its expectation does not depend on the number of
clips. Kernel and scale are those of that paper: a Gaussian kernel whose bandwidth is the median distance
between patches of the reference, and a factor of 100.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = 100.0
_BLOCK = 1024  # rows of the kernel matrix that exist at once
_MEDIAN_PATCHES = 2000


class KernelAudioDistance:
    """Distances to one reference set, whose own kernel sum is computed once.

    Deviation: pairs of patches of one clip do not count in the sums within a set. They depend on each other,
    and with them the expectation would fall with the number of clips.

    Args:
        reference: Embeddings of the reference clips, ``(clips, patches, dimension)``, at least two clips.
    """

    def __init__(self, reference: Tensor) -> None:
        # Distances do not depend on the origin; centring keeps float32 products accurate.
        self.centre = reference.flatten(0, 1).double().mean(dim=0)
        self.reference = self._centred(reference)
        self.bandwidth = median_distance(self.reference.flatten(0, 1))
        self.within_reference = self._mean_within(self.reference)

    def __call__(self, embeddings: Tensor, paired: bool = False) -> float:
        """Unbiased squared MMD times 100; slightly negative by chance for sets of one distribution.

        Args:
            embeddings: Embeddings of two or more evaluated clips, ``(clips, patches, dimension)``.
            paired: Whether clip ``i`` is a copy of reference ``i``, as a refiner's output is. Such pairs
                depend on each other and do not count, so that a set is at distance 0 from itself.
        """
        clips = self._centred(embeddings)
        rows, columns = clips.flatten(0, 1), self.reference.flatten(0, 1)
        total, pairs = self._kernel_sum(rows, columns), len(rows) * len(columns)
        if paired:
            total -= self._same_clip_sum(clips, self.reference)
            pairs -= len(clips) * clips.shape[1] * self.reference.shape[1]
        between = total / pairs
        return SCALE * (self._mean_within(clips) + self.within_reference - 2 * between)

    def _centred(self, embeddings: Tensor) -> Tensor:
        return (embeddings.double() - self.centre.to(embeddings.device)).float()

    def _mean_within(self, clips: Tensor) -> float:
        """Mean kernel value over all pairs of patches of two different clips."""
        count, patches = clips.shape[:2]
        rows = clips.flatten(0, 1)
        total = self._kernel_sum(rows, rows) - self._same_clip_sum(clips, clips)
        return total / (count * (count - 1) * patches**2)

    @torch.autocast("cpu", enabled=False)
    def _same_clip_sum(self, clips: Tensor, others: Tensor) -> float:
        """Sum of kernel values over pairs of patches of the same clip of two sets."""
        return float(self._kernel(torch.cdist(clips, others).square()).double().sum())

    @torch.autocast("cpu", enabled=False)
    def _kernel_sum(self, rows: Tensor, columns: Tensor) -> float:
        total = torch.zeros((), dtype=torch.float64, device=rows.device)
        for block in rows.split(_BLOCK):
            total += self._kernel(torch.cdist(block, columns).square()).double().sum()
        return float(total)

    def _kernel(self, squared_distances: Tensor) -> Tensor:
        return torch.exp(squared_distances / (-2 * self.bandwidth**2))


def median_distance(patches: Tensor) -> float:
    """Median distance between patches ``(n, dimension)``, of at most 2,000 evenly spaced ones."""
    step = max(1, len(patches) // _MEDIAN_PATCHES)
    distances = torch.nn.functional.pdist(patches[::step][:_MEDIAN_PATCHES].float())
    return max(float(distances.median()), 1e-6) if len(distances) else 1.0
