"""Fréchet audio distance (Kilgour et al. 2019; section 5 of the paper), on torchmetrics' Fréchet state."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance


class FrechetAudioDistance(FrechetInceptionDistance):
    """Distance of two sets of embeddings, each taken for a Gaussian: sums in float64, reduced over ranks.

    ``update`` takes embeddings ``(n, dimension)`` of patches, not audio: they are made once and used by
    several judges.

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
    """A Fréchet distance and how far to trust it.

    Args:
        value: The distance.
        low: Lower end of the 95 % interval.
        high: Upper end of it.
        n: Patches on the judged side.
        reference_n: Patches of the reference.
        dimension: Length of an embedding.
    """

    value: float
    low: float
    high: float
    n: int
    reference_n: int
    dimension: int


def frechet_distance(judged: Tensor, reference: Tensor, draws: int = 40, seed: int = 0) -> Distance:
    """Fréchet distance of clips to reference clips, with its bootstrap interval.

    Whole clips are drawn, since the patches of one clip depend on each other. The interval is 1.96
    standard deviations of the draws around the value: a draw repeats clips, which narrows its
    covariance, so that the draws themselves lie off the value to one side.

    Args:
        judged: ``(clips, patches, dimension)``.
        reference: ``(clips, patches, dimension)``; it is held fixed.
        draws: Draws of the bootstrap; 0 for no interval.
        seed: Seed of the draws.
    """
    dimension = judged.shape[-1]
    n, reference_n = (x.shape[0] * x.shape[1] for x in (judged, reference))
    if min(n, reference_n) < 2 * dimension:
        warnings.warn(
            f"A Fréchet distance of {dimension} dimensions from {n} patches against {reference_n} is biased "
            f"upwards; give at least {2 * dimension} on either side.",
            stacklevel=2,
        )
    metric = FrechetAudioDistance(dimension)
    metric.update(reference.flatten(0, 1), real=True)
    metric.update(judged.flatten(0, 1), real=False)
    value = float(metric.compute())
    mean, covariance = _gaussian(reference.flatten(0, 1))
    root = _root(covariance)
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(draws):
        chosen = torch.randint(len(judged), (len(judged),), generator=generator)
        values.append(_distance(*_gaussian(judged[chosen].flatten(0, 1)), mean, covariance, root))
    spread = 1.96 * float(torch.tensor(values).std()) if draws else 0.0
    return Distance(value, max(0.0, value - spread), value + spread, n, reference_n, dimension)


def _gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.double()
    return x.mean(dim=0), x.T.cov()


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _distance(mean: Tensor, covariance: Tensor, other_mean: Tensor, other: Tensor, root: Tensor) -> float:
    """The same with one root made beforehand: the trace of the product's root, by a symmetric matrix."""
    product = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt().sum()
    gap = (mean - other_mean).square().sum() + covariance.trace() + other.trace() - 2 * product
    return float(gap)
