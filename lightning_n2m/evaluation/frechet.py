"""Fréchet audio distance (Kilgour et al. 2019; section 5 of the paper), on torchmetrics' Fréchet state."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance


class FrechetAudioDistance(FrechetInceptionDistance):
    """Distance of two sets of embeddings, each modelled as a Gaussian: sums in float64, reduced over ranks.

    ``update`` takes embeddings ``(n, dimension)`` of patches instead of audio, so that several metrics share
    them.

    Args:
        dimension: Length of an embedding.
    """

    def __init__(self, dimension: int) -> None:
        feature = nn.Identity()
        feature.num_features = torch.tensor(dimension).item()  # type: ignore[assignment]
        super().__init__(feature=feature)
        self.set_dtype(torch.float64)


@dataclass(frozen=True)
class Distance:
    """A Fréchet distance with its uncertainty.

    Args:
        value: The distance.
        low: Lower end of the 95 % interval.
        high: Upper end of it.
        n: Patches of the evaluated set.
        reference_n: Patches of the reference.
        dimension: Length of an embedding.
    """

    value: float
    low: float
    high: float
    n: int
    reference_n: int
    dimension: int

    @property
    def has_few_patches(self) -> bool:
        """Whether a side has fewer than two patches per dimension, which biases the distance upwards."""
        return min(self.n, self.reference_n) < 2 * self.dimension


def frechet_distance(evaluated: Tensor, reference: Tensor, draws: int = 40, seed: int = 0) -> Distance:
    """Fréchet distance of clips to reference clips, with its bootstrap interval.

    The bootstrap draws whole clips, since the patches of one clip depend on each other. The interval is 1.96
    standard deviations of the draws around the value: a draw repeats clips, which narrows its covariance, so
    that the draws themselves are biased.

    Args:
        evaluated: ``(clips, patches, dimension)``.
        reference: ``(clips, patches, dimension)``; it is held fixed.
        draws: Draws of the bootstrap; 0 for no interval.
        seed: Seed of the draws.

    Returns:
        The distance; NaN for a single patch.
    """
    dimension = evaluated.shape[-1]
    n, reference_n = (x.shape[0] * x.shape[1] for x in (evaluated, reference))
    if min(n, reference_n) < 2:  # a covariance needs two patches
        return Distance(math.nan, math.nan, math.nan, n, reference_n, dimension)
    if min(n, reference_n) < 2 * dimension:
        warnings.warn(
            f"A Fréchet distance of {dimension} dimensions from {n} patches against {reference_n} is biased "
            f"upwards; give at least {2 * dimension} on either side.",
            stacklevel=2,
        )
    metric = FrechetAudioDistance(dimension).to(reference.device)
    metric.update(reference.flatten(0, 1).float(), real=True)
    metric.update(evaluated.flatten(0, 1).float(), real=False)
    value = float(metric.compute())
    if not draws:
        return Distance(value, value, value, n, reference_n, dimension)
    mean, covariance = _gaussian(reference.flatten(0, 1))
    root = _root(covariance)
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(draws):
        rows = torch.randint(len(evaluated), (len(evaluated),), generator=generator).to(evaluated.device)
        values.append(_distance(*_gaussian(evaluated[rows].flatten(0, 1)), mean, covariance, root))
    spread = 1.96 * float(torch.tensor(values).std())
    return Distance(value, max(0.0, value - spread), value + spread, n, reference_n, dimension)


def _gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the rows of ``(n, dimension)``."""
    x = x.double()
    return x.mean(dim=0), x.T.cov()


def _root(covariance: Tensor) -> Tensor:
    """Symmetric square root of a covariance."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _distance(mean: Tensor, covariance: Tensor, other_mean: Tensor, other: Tensor, root: Tensor) -> float:
    """Fréchet distance of two Gaussians, given the root of the second covariance.

    The trace of the root of the product of both covariances equals that of the symmetric matrix below.
    """
    product = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt().sum()
    gap = (mean - other_mean).square().sum() + covariance.trace() + other.trace() - 2 * product
    return float(gap)
