from __future__ import annotations

import itertools

import pytest
import torch

from lightning_n2m.diffusion.prediction import Denoised, loss_weight, prediction_target, to_denoised
from lightning_n2m.diffusion.schedule import CosineSchedule, LinearSchedule

KINDS = ["v", "epsilon", "x0"]
TIMES = torch.tensor([0.02, 0.1, 0.35, 0.5, 0.8, 0.97])
SCHEDULES = [CosineSchedule(), LinearSchedule(shift=-1.0)]


@pytest.fixture(params=SCHEDULES, ids=lambda s: type(s).__name__)
def level(request):
    return request.param.at(TIMES)


@pytest.fixture
def pair():
    return torch.randn(2, len(TIMES), 1, 50, generator=torch.Generator().manual_seed(0)).unbind(0)


@pytest.mark.parametrize("kind", KINDS)
def test_data_and_noise_are_recovered_from_the_target(kind, level, pair):
    x0, noise = pair
    estimate = to_denoised(kind, prediction_target(kind, x0, noise, level), level.diffuse(x0, noise), level)
    torch.testing.assert_close(estimate.x0, x0, atol=2e-4, rtol=0)
    torch.testing.assert_close(estimate.epsilon, noise, atol=2e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_any_output_becomes_a_pair_whose_mixture_is_x_t(kind, level, pair):
    x_t, output = pair
    estimate = to_denoised(kind, output, x_t, level)
    torch.testing.assert_close(level.diffuse(estimate.x0, estimate.epsilon), x_t, atol=1e-4, rtol=1e-4)


def test_v_is_the_derivative_of_x_t_by_the_angle():
    angle = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    x0, noise = torch.tensor(1.3, dtype=torch.float64), torch.tensor(-0.4, dtype=torch.float64)
    (slope,) = torch.autograd.grad(angle.cos() * x0 + angle.sin() * noise, angle)
    level = CosineSchedule().at(((angle.detach() - CosineSchedule().b) / CosineSchedule().a)[None])
    target = prediction_target("v", x0[None, None, None].float(), noise[None, None, None].float(), level)
    assert target.item() == pytest.approx(slope.item(), rel=1e-5)


def test_the_noise_follows_from_changed_data(level, pair):
    x0, x_t = pair
    changed = Denoised.from_x0(x0.clamp(-1, 1), x_t, level)
    assert changed.x0.abs().max() <= 1
    torch.testing.assert_close(level.diffuse(changed.x0, changed.epsilon), x_t, atol=1e-5, rtol=1e-5)


def weighted(kind, weight, estimate, truth, level):
    error = prediction_target(kind, *estimate, level) - prediction_target(kind, *truth, level)
    return (loss_weight(weight, kind, level) * error.square()).flatten(1).mean(1)


WEIGHTS = ["simplified", "sigma", "velocity", "min_snr"]


@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_loss_of_an_estimate_does_not_depend_on_the_prediction(weight, level, pair):
    x0, noise = pair
    x_t = level.diffuse(x0, noise)
    guess = Denoised.from_x0(
        x0 + 0.3 * torch.randn(x0.shape, generator=torch.Generator().manual_seed(1)), x_t, level
    )
    losses = [weighted(kind, weight, (guess.x0, guess.epsilon), (x0, noise), level) for kind in KINDS]
    for one, other in itertools.pairwise(losses):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=0)


def test_weights_are_those_of_the_paper_on_the_error_of_epsilon(level):
    sigma, alpha = level.sigma, level.alpha
    torch.testing.assert_close(loss_weight("simplified", "epsilon", level), torch.ones_like(sigma))
    torch.testing.assert_close(loss_weight("sigma", "epsilon", level), sigma**2)
    torch.testing.assert_close(loss_weight("velocity", "epsilon", level), 1 / alpha**2)
    torch.testing.assert_close(loss_weight("velocity", "v", level), torch.ones_like(sigma))


def test_min_snr_is_the_weight_of_hang_et_al(level):
    """Hang et al. 2023: min(SNR, gamma) for x0, divided by SNR for epsilon and by SNR + 1 for v."""
    snr = (level.alpha / level.sigma) ** 2
    for gamma in (1.0, 5.0):
        capped = snr.clamp(max=gamma)
        expected = {"x0": capped, "epsilon": capped / snr, "v": capped / (snr + 1)}
        for kind, weight in expected.items():
            torch.testing.assert_close(
                loss_weight("min_snr", kind, level, gamma), weight, rtol=1e-4, atol=1e-9
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_weights_are_finite_at_both_ends(kind, weight):
    for schedule in SCHEDULES:
        ends = loss_weight(weight, kind, schedule.at(torch.tensor([0.0, 1.0])))
        assert torch.isfinite(ends).all()
        assert (ends >= 0).all()
