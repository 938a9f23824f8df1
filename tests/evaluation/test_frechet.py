from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.evaluation.frechet import _distance, _gaussian, _root, frechet_distance


def gaussian(clips, patches, mean, root, seed):
    """Draws whose mean and covariance are exactly as given: whitened, then coloured."""
    d = len(mean)
    x = torch.randn(clips * patches, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x - x.mean(dim=0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    return (x @ root.T + mean).view(clips, patches, d)


def spd(d, seed):
    a = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.T / d + 0.1 * torch.eye(d, dtype=torch.float64)


def test_gaussians_of_known_moments_have_the_known_distance():
    d = 6
    means = [torch.linspace(-1, 1, d, dtype=torch.float64), torch.linspace(0, 3, d, dtype=torch.float64)]
    # Covariances with common axes: the distance is then the sum over axes, in closed form.
    axes = torch.linalg.eigh(spd(d, 0)).eigenvectors
    spreads = [torch.linspace(0.5, 2, d, dtype=torch.float64), torch.linspace(3, 0.2, d, dtype=torch.float64)]
    x, y = (
        gaussian(50, 4, m, axes @ torch.diag(s), i)
        for i, (m, s) in enumerate(zip(means, spreads, strict=True))
    )
    expected = (means[0] - means[1]).square().sum() + (spreads[0] - spreads[1]).square().sum()
    distance = frechet_distance(x, y, draws=0)
    assert distance.value == pytest.approx(float(expected), rel=1e-6)
    assert (distance.n, distance.reference_n, distance.dimension) == (200, 200, 6)


def test_general_covariances_agree_with_the_symmetric_form():
    x = gaussian(100, 2, torch.zeros(5, dtype=torch.float64), torch.linalg.cholesky(spd(5, 1)), 3)
    y = gaussian(100, 2, torch.ones(5, dtype=torch.float64), torch.linalg.cholesky(spd(5, 2)), 4)
    mean, covariance = _gaussian(y.flatten(0, 1))
    other = _distance(*_gaussian(x.flatten(0, 1)), mean, covariance, _root(covariance))
    assert frechet_distance(x, y, draws=0).value == pytest.approx(other, rel=1e-6)


def test_a_set_is_at_no_distance_from_itself():
    x = torch.randn(60, 3, 8, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x, x, draws=0).value == pytest.approx(0, abs=1e-6)


def test_the_interval_covers_the_truth_and_narrows_with_clips():
    def draw(clips, seed):
        return torch.randn(clips, 2, 4, generator=torch.Generator().manual_seed(seed)) + torch.tensor(
            [1.0, 0, 0, 0]
        )

    reference = gaussian(500, 4, torch.zeros(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64), 9)
    covered = 0
    for seed in range(20):
        distance = frechet_distance(draw(200, seed), reference, seed=seed)
        covered += distance.low <= 1.0 <= distance.high
    assert covered >= 16
    narrow, wide = (frechet_distance(draw(n, 0), reference) for n in (800, 50))
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)


def test_too_few_patches_for_the_dimension_are_reported():
    x = torch.randn(10, 3, 40, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="40 dimensions from 30 patches"):
        frechet_distance(x, x, draws=0)


def test_a_single_patch_has_no_distance():
    one = torch.ones(1, 1, 4)
    assert math.isnan(frechet_distance(one, torch.randn(3, 2, 4)).value)
    assert math.isnan(frechet_distance(torch.randn(3, 2, 4), one).value)
