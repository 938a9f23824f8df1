"""Learning rates against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.errors import InputError
from lightning_n2m.stages.settings import Optimisation, Sampling


def test_the_default_is_the_papers_cosine() -> None:
    """Section 4.1: a linear rise, then half a cosine to zero."""
    optimisation = Optimisation(warmup_steps=10, total_steps=1000)
    assert optimisation.factor(4) == pytest.approx(0.5, abs=1e-3)
    assert optimisation.factor(500) == pytest.approx(0.5)
    assert optimisation.factor(1000) == optimisation.factor(2000) == pytest.approx(0)


def test_a_decay_at_the_end_leaves_all_steps_before_it_unchanged() -> None:
    """The constant part does not depend on the length, so any of its checkpoints can be decayed."""
    endless = Optimisation(warmup_steps=10, total_steps=10**9, decay_steps=0)
    decayed = Optimisation(warmup_steps=10, total_steps=300, decay_steps=100)
    assert [decayed.factor(step) for step in range(201)] == [endless.factor(step) for step in range(201)]
    assert endless.factor(150) == endless.factor(10**8) == 1
    for step in (225, 250, 300):
        assert decayed.factor(step) == pytest.approx(1 - math.sqrt((step - 200) / 100))
    assert decayed.factor(400) == 0


def test_a_decay_longer_than_the_training_is_refused() -> None:
    with pytest.raises(InputError, match="decay_steps is 11"):
        Optimisation(total_steps=10, decay_steps=11)


def test_the_default_optimiser_is_adam_over_all_parameters() -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer, _ = Optimisation().build(layer)
    assert type(optimizer) is torch.optim.Adam
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in layer.parameters()]


def test_few_steps_keep_the_shares_of_a_step_list_that_others_refuse() -> None:
    """Half of the paper's steps of super-resolution lie below 0.05."""
    sampling = Sampling("super_resolution", num_steps=2, method="few")
    torch.testing.assert_close(sampling.times(), torch.tensor([1, 0.05, 0], dtype=torch.float64))
    assert torch.equal(Sampling("uniform", 4, method="few").times(), Sampling("uniform", 4).times())
    with pytest.raises(InputError, match="at least 4 steps"):
        Sampling("super_resolution", num_steps=2)
    with pytest.raises(InputError, match="no step list 'x'"):
        Sampling("x", num_steps=2, method="few")
