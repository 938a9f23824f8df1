"""Optimal transport against all permutations, and the invariance of groups."""

from __future__ import annotations

import itertools

import pytest
import torch

from lightning_n2m.diffusion.coupling import complete_groups, couple
from lightning_n2m.errors import InputError


def pair(n):
    return torch.randn(2, n, 3, 7, generator=torch.Generator().manual_seed(0)).unbind(0)


def test_the_coupling_is_the_best_of_all_permutations():
    x0, noise = pair(5)
    coupled = couple(x0, noise, [range(5)])
    costs = [(x0 - noise[list(order)]).square().sum() for order in itertools.permutations(range(5))]
    assert (x0 - coupled).square().sum() == pytest.approx(float(min(costs)), rel=1e-6)
    rows = [tuple(row.flatten().tolist()) for row in noise]
    assert sorted(tuple(row.flatten().tolist()) for row in coupled) == sorted(rows), "a permutation"


def test_noise_near_the_data_is_found_again():
    x0, other = pair(6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    noise = (x0 + 0.1 * other)[order]
    assert torch.equal(couple(x0, noise, [range(6)]), x0 + 0.1 * other)


def test_noise_stays_within_its_group_whatever_the_batch():
    """Eight samples of two streams in one batch, in two batches, and in another order."""
    x0, noise = pair(8)
    streams, positions = [0, 1] * 4, [0, 0, 1, 1, 2, 2, 3, 3]
    groups = complete_groups(streams, positions, 2)
    assert sorted(map(tuple, groups)) == [(0, 2), (1, 3), (4, 6), (5, 7)]
    whole = couple(x0, noise, groups)
    for group in groups:
        assert torch.equal(couple(x0[group], noise[group], [range(2)]), whole[group])
    shuffled = torch.tensor([5, 2, 7, 0, 6, 1, 4, 3])
    regrouped = complete_groups([streams[i] for i in shuffled], [positions[i] for i in shuffled], 2)
    assert torch.equal(couple(x0[shuffled], noise[shuffled], regrouped), whole[shuffled])


@pytest.mark.parametrize("positions", [[0, 1, 2], [1, 2], [4, 5, 6, 8]])
def test_an_incomplete_group_is_refused(positions):
    with pytest.raises(InputError, match=r"model\.transport_group is 2"):
        complete_groups([0] * len(positions), positions, 2)
