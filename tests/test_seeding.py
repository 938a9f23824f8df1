from __future__ import annotations

import hashlib

import torch

from lightning_n2m.seeding import PerSampleGenerator, derive_seed


def test_a_seed_is_the_same_on_every_machine():
    expected = int(hashlib.sha256(b"0 train 5").hexdigest()[:16], 16) // 2
    assert derive_seed("0 train", 5) == expected == derive_seed(0, "train", 5)


def test_draws_do_not_depend_on_the_neighbours_in_the_batch():
    together = PerSampleGenerator("0 train", [7, 3, 2**40])
    alone = PerSampleGenerator("0 train", [3])
    for _ in range(2):
        assert torch.equal(together.normal(2, 5)[1], alone.normal(2, 5)[0])
        assert torch.equal(together.uniform(-1, 4)[1], alone.uniform(-1, 4)[0])


def test_samples_purposes_and_moments_differ():
    random = PerSampleGenerator("0 train", [0, 1])
    first, second = random.normal(100), random.normal(100)
    other = PerSampleGenerator("0 validation", [0, 1]).normal(100)
    rows = torch.cat([first, second, other])
    assert (torch.corrcoef(rows) - torch.eye(6)).abs().max() < 0.35


def test_noise_is_standard_normal_and_uniform_draws_fill_their_range():
    random = PerSampleGenerator(0, range(400))
    noise = random.normal(1, 100)
    assert noise.shape == (400, 1, 100)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    draws = random.uniform(0.2, 0.5)
    assert draws.shape == (400,)
    assert draws.min() >= 0.2
    assert draws.max() <= 0.5
    assert abs(draws.mean() - 0.35) < 0.02
    assert abs(draws.std() - 0.3 / 12**0.5) < 0.01


def test_its_length_is_the_number_of_samples():
    assert len(PerSampleGenerator(0, [4, 9, 9])) == 3
