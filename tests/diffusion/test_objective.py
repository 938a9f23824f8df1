from __future__ import annotations

import pytest
import torch

from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.prediction import loss_weight, prediction_target
from lightning_n2m.diffusion.schedule import CosineSchedule, LinearSchedule

KINDS = ["v", "epsilon", "x0"]
T = torch.tensor([0.1, 0.4, 0.9])


def draws():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 2, 64, generator=generator).unbind(0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exact_network_has_zero_loss(kind):
    x0, noise = draws()
    objective = Objective(CosineSchedule(), kind)
    level = objective.schedule.at(T)

    def oracle(x_t, t):
        torch.testing.assert_close(x_t, level.diffuse(x0, noise))
        torch.testing.assert_close(t, T)
        return prediction_target(kind, x0, noise, level)

    loss = objective.loss(oracle, x0, T, noise)
    assert loss.plain.tolist() == loss.weighted.tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_constant_error_is_its_square_times_the_weight(kind):
    x0, noise = draws()
    objective = Objective(LinearSchedule(), kind, "sigma")
    level = objective.schedule.at(T)
    offset = torch.tensor([0.5, 0.0, 2.0])[:, None, None]

    loss = objective.loss(lambda *_: prediction_target(kind, x0, noise, level) + offset, x0, T, noise)
    torch.testing.assert_close(loss.plain, torch.tensor([0.25, 0.0, 4.0]))
    torch.testing.assert_close(loss.weighted, loss.plain * loss_weight("sigma", kind, level).flatten())


def test_the_loss_of_an_epsilon_network_is_the_mean_square_of_its_error():
    x0, noise = draws()
    loss = Objective(CosineSchedule(), "epsilon").loss(lambda x, t: torch.zeros_like(x), x0, T, noise)
    torch.testing.assert_close(loss.weighted, noise.square().mean(dim=(1, 2)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_of_known_steps_does_not_count(kind):
    x0, noise = draws()
    objective = Objective(CosineSchedule(), kind)
    level = objective.schedule.at(T)
    known = torch.zeros(3, 1, 64)
    known[0, :, :48], known[1, :, 10:] = 1, 1
    error = torch.randn(3, 2, 64, generator=torch.Generator().manual_seed(1))

    def network(x_t, t):
        return prediction_target(kind, x0, noise, level) + error + 100 * known

    loss = objective.loss(network, x0, T, noise, known)
    expected = [error[0, :, 48:], error[1, :, :10], error[2]]
    torch.testing.assert_close(loss.plain, torch.stack([part.square().mean() for part in expected]))
    assert objective.loss(network, x0, T, noise, torch.ones(3, 1, 64)).plain.tolist() == [0, 0, 0]


def test_the_loss_of_a_16_bit_output_is_float32():
    x0, noise = draws()
    loss = Objective(CosineSchedule()).loss(lambda x, t: x.bfloat16(), x0, T, noise)
    assert loss.weighted.dtype == loss.plain.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_denoising_uses_the_level_of_each_sample(kind):
    x0, noise = draws()
    objective = Objective(CosineSchedule(), kind)
    level = objective.schedule.at(T)
    estimate = objective.denoise(
        lambda x, t: prediction_target(kind, x0, noise, level), level.diffuse(x0, noise), T
    )
    torch.testing.assert_close(estimate.x0, x0, atol=1e-4, rtol=0)
    torch.testing.assert_close(estimate.epsilon, noise, atol=1e-4, rtol=0)
