"""Numbers as inputs of the network: exactly zero where absent and before training, effective after it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from lightning_n2m.errors import InputError
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.number_embedding import NUMBERS, TempoEmbedding
from lightning_n2m.networks.unet import UNet1d

LENGTH = 45  # not a multiple of the total stride


def unet(**options: Any) -> UNet1d:
    torch.manual_seed(0)
    return UNet1d(2, 8, [1, 1], [4, 2], [1, 1], [False] * 2, [False] * 2, 3, **options)


def trained(**options: Any) -> UNet1d:
    """A network whose weights are all random, as after training."""
    network = unet(**options)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return network


def conditions() -> Conditions:
    steps = torch.arange(LENGTH) / 7
    return Conditions(
        tempo=torch.tensor([90.0, 120.0]),
        tonic=torch.tensor([2, 7]),
        mode=torch.tensor([0, 1]),
        beat_phase=torch.stack([steps.sin(), steps.cos()]).expand(2, 2, LENGTH),
    )


def run(network: UNet1d, given: Conditions | None) -> torch.Tensor:
    x = torch.randn(2, 2, LENGTH, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return network(x, torch.tensor([0.3, 0.8]), given)


OTHER = {
    "tempo": torch.tensor([91.0, 121.0]),
    "tonic": torch.tensor([3, 8]),
    "mode": torch.tensor([1, 0]),
    "beat_phase": torch.zeros(2, 2, LENGTH),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_the_output_depends_on_each_number(name: str) -> None:
    network = trained(numbers=NUMBERS)
    before = run(network, conditions())
    after = run(network, dataclasses.replace(conditions(), **{name: OTHER[name]}))
    # Every sample changes.
    assert ((before - after).abs().amax(dim=(1, 2)) > 1e-4).all()


def test_absent_numbers_are_the_same_as_dropped_ones_and_as_none() -> None:
    network = trained(numbers=NUMBERS)
    nothing = run(network, None)
    dropped = run(network, conditions().drop_numbers())
    absent = Conditions(
        tempo=torch.full((2,), math.nan),
        tonic=torch.full((2,), -1),
        mode=torch.full((2,), -1),
        beat_phase=torch.zeros(2, 2, LENGTH),
    )
    assert torch.equal(dropped, nothing) and torch.equal(run(network, absent), nothing)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_dropped_one_by_one_and_sample_by_sample(name: str) -> None:
    network = trained(numbers=NUMBERS)
    whole, lost = conditions(), conditions().drop_numbers({name: torch.tensor([True, False])})
    for other in set(NUMBERS) - {name}:
        assert torch.equal(getattr(whole, other), getattr(lost, other))
    before, after = run(network, whole), run(network, lost)
    assert torch.equal(before[1], after[1]) and not torch.equal(before[0], after[0])


def test_a_network_with_numbers_starts_as_one_without() -> None:
    plain = trained()
    network = unet(numbers=NUMBERS)
    network.load_state_dict(network.with_new_inputs(plain.state_dict()))
    assert torch.equal(run(network, conditions()), run(plain, None))
    # Nothing but new inputs is filled in.
    weights = plain.state_dict()
    weights.pop("exit.weight")
    assert "exit.weight" not in network.with_new_inputs(weights)
    # The zero weights still learn.
    x = torch.randn(2, 2, LENGTH)
    network(x, torch.tensor([0.3, 0.8]), conditions()).square().sum().backward()
    assert network.numbers is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.numbers.parameters())


def test_conditions_with_numbers_are_joined_and_cut() -> None:
    whole = conditions()
    both = whole.cat(whole.drop_numbers())
    assert both.tempo is not None and both.tempo[:2].tolist() == [90, 120] and both.tempo[2:].isnan().all()
    piece = whole.slice(8, 24, 8)
    assert piece.beat_phase is not None and whole.beat_phase is not None
    assert torch.equal(piece.beat_phase, whole.beat_phase[..., 8:24])
    assert both.beat_phase is not None and both.beat_phase[:2].any() and not both.beat_phase[2:].any()


def test_tempi_have_distinct_embeddings_and_extremes_do_not_extrapolate() -> None:
    embedding = TempoEmbedding(15)
    embedding.linear.weight.data = torch.eye(15)
    tempi = torch.arange(40.0, 240.0)
    with torch.no_grad():
        vectors = embedding(tempi)
        # The vector of a tempo is nearest to those of one beat per minute more or less.
        distances = torch.cdist(vectors, vectors) + 10 * torch.eye(len(tempi))
        nearest = distances.argmin(dim=1)
        assert ((nearest - torch.arange(len(tempi))).abs() == 1).all()
        assert torch.equal(embedding(torch.tensor([400.0])), embedding(torch.tensor([900.0])))


def test_unknown_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="choose from tempo"):
        unet(numbers=["loudness"])
