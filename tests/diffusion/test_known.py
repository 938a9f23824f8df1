"""Known data in the samplers, on correlated Gaussian data, whose conditional is known in closed form.

For x0 ~ N(0, C) the best estimate of the data in x_t is ``alpha C (alpha^2 C + sigma^2)^-1 x_t``. Given the
known part k, the unknown part u has mean ``C_uk C_kk^-1 k`` and covariance ``C_uu - C_uk C_kk^-1 C_ku``.
The draws lie along the channel axis, so that one generator of random numbers makes them all.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_n2m.diffusion.known import Known, conjugate_gradients
from lightning_n2m.diffusion.prediction import Denoised
from lightning_n2m.diffusion.sampler import forward_step, sample
from lightning_n2m.diffusion.schedule import CosineSchedule
from lightning_n2m.diffusion.steps import step_times
from lightning_n2m.errors import InputError
from lightning_n2m.seeding import PerSampleGenerator

DRAWS = 4000
POSITION = torch.arange(5)
COVARIANCE = 0.9 ** (POSITION[:, None] - POSITION).abs().float()
IS_KNOWN = torch.tensor([True, True, False, False, True])
VALUES = torch.tensor([1.5, 1.0, 0.0, 0.0, -0.5])
SCHEDULE = CosineSchedule()
METHODS = {
    "ancestral-0": ("ancestral", 0.0),
    "ancestral-1": ("ancestral", 1.0),
    "ddim": ("ddim", 0.0),
    "dpm++2m": ("dpm++2m", 0.0),
    "sde-dpm++2m": ("sde-dpm++2m", 0.0),
}


def closed_form() -> tuple[Tensor, Tensor]:
    """Mean and covariance of the unknown part given the known part."""
    rows = COVARIANCE[~IS_KNOWN]
    gain = rows[:, IS_KNOWN] @ torch.linalg.inv(COVARIANCE[IS_KNOWN][:, IS_KNOWN])
    return gain @ VALUES[IS_KNOWN], rows[:, ~IS_KNOWN] - gain @ COVARIANCE[IS_KNOWN][:, ~IS_KNOWN]


def denoise(x_t: Tensor, time: float, *later: float) -> Denoised:
    level = SCHEDULE.at(torch.tensor([time]))
    alpha, sigma = level.alpha.item(), level.sigma.item()
    gain = alpha * COVARIANCE @ torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * torch.eye(5))
    return Denoised.from_x0(x_t @ gain.T, x_t, level)


def run(
    method: str,
    gamma: float = 0.0,
    steps: int = 100,
    watch: list[tuple[float, Tensor]] | None = None,
    **more: int,
) -> Tensor:
    def watched(x_t: Tensor, time: float, *later: float) -> Denoised:
        if watch is not None:
            watch.append((time, x_t.detach()))
        return denoise(x_t, time, *later)

    known = Known(VALUES.expand(1, DRAWS, 5), IS_KNOWN[None, None], **more)
    noise = PerSampleGenerator(0, [0]).normal(DRAWS, 5)
    times = step_times("waveform_generator", steps)
    rng = PerSampleGenerator(1, [0])
    return sample(watched, noise, SCHEDULE, times, rng, method, gamma, known=known)  # type: ignore[arg-type]


def errors(x: Tensor) -> tuple[float, float]:
    """Largest errors of the mean and of the covariance of the unknown part."""
    mean, covariance = closed_form()
    unknown = x[0][:, ~IS_KNOWN]
    return (unknown.mean(0) - mean).abs().max().item(), (unknown.T.cov() - covariance).abs().max().item()


@pytest.mark.parametrize("method", METHODS)
def test_with_corrections_the_unknown_part_has_the_conditional_of_the_closed_form(method: str) -> None:
    error_of_mean, error_of_covariance = errors(run(*METHODS[method], corrections=3))
    # Standard error of the mean: at most 0.0085; of a covariance: about 0.006.
    assert error_of_mean < 0.03
    assert error_of_covariance < 0.04


def test_without_corrections_the_unknown_part_follows_the_known_one_only_in_part() -> None:
    """What the corrections are for: replacing the known part alone misses most of the conditional mean."""
    replaced, _ = errors(run("ancestral"))
    resampled, _ = errors(run("ancestral", steps=50, resampling=8))
    assert replaced > 0.08
    assert resampled < 0.8 * replaced


@pytest.mark.parametrize("more", [{}, {"corrections": 2}, {"resampling": 3}], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_known_data_has_its_exact_posterior_at_every_step_and_is_returned(
    method: str, more: dict[str, int]
) -> None:
    watch: list[tuple[float, Tensor]] = []
    x = run(*METHODS[method], steps=20, watch=watch, **more)
    assert torch.equal(x[0][:, IS_KNOWN], VALUES[IS_KNOWN].expand(DRAWS, -1))
    assert len(watch) == (19 * more.get("resampling", 1) + 1)
    for time, x_t in watch:
        level = SCHEDULE.at(torch.tensor([time]))
        alpha, sigma = level.alpha.item(), level.sigma.item()
        noise = (x_t[0][:, IS_KNOWN] - alpha * VALUES[IS_KNOWN]) / sigma
        assert noise.mean(0).abs().max().item() < 5 / DRAWS**0.5
        assert noise.std(0).tolist() == pytest.approx([1.0] * 3, abs=5 / (2 * DRAWS) ** 0.5)


def test_noising_a_step_back_is_the_forward_process() -> None:
    data = torch.full((1, 1, 100_000), 0.8)
    now, before = 3.0, 0.5
    alpha_s, sigma_s = (torch.sigmoid(torch.tensor(sign * now)).sqrt().item() for sign in (1, -1))
    alpha_t, sigma_t = (torch.sigmoid(torch.tensor(sign * before)).sqrt().item() for sign in (1, -1))
    x_s = alpha_s * data + sigma_s * PerSampleGenerator(0, [0]).normal(1, 100_000)
    x_t = forward_step(x_s, now, before, PerSampleGenerator(1, [0]))
    assert x_t.mean().item() == pytest.approx(alpha_t * 0.8, abs=0.01)
    assert x_t.std().item() == pytest.approx(sigma_t, rel=0.01)
    clean = forward_step(data, float("inf"), before, PerSampleGenerator(1, [0]))
    assert clean.std().item() == pytest.approx(sigma_t, rel=0.01)


def test_nothing_known_gives_the_samples_of_the_plain_sampler() -> None:
    noise, times = PerSampleGenerator(0, [0]).normal(3, 5), step_times("uniform", 8)
    known = Known(torch.zeros(1, 3, 5), torch.zeros(1, 1, 5, dtype=torch.bool))
    for method, gamma in METHODS.values():
        plain, edited = (
            sample(denoise, noise, SCHEDULE, times, PerSampleGenerator(1, [0]), method, gamma, known=part)  # type: ignore[arg-type]
            for part in (None, known)
        )
        assert torch.equal(plain, edited)


def test_corrections_run_in_inference_mode() -> None:
    with torch.inference_mode():
        assert torch.isfinite(run("ddim", steps=6, corrections=1)).all()


def test_conjugate_gradients_solve_each_sample_on_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    matrix = factor @ factor.mT + torch.eye(6)
    target = torch.randn(2, 1, 6, generator=generator, dtype=torch.float64)
    solution = conjugate_gradients(lambda v: v @ matrix, target, 6)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, target.mT).mT)
    alone = conjugate_gradients(lambda v: v @ matrix[1:], target[1:], 6)
    torch.testing.assert_close(solution[1:], alone)


@pytest.mark.parametrize("more", [{"resampling": 0}, {"corrections": -1}, {"strength": 1.5}], ids=str)
def test_settings_out_of_range_are_refused(more: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(more))):
        Known(torch.zeros(1, 1, 4), torch.ones(1, 1, 4, dtype=torch.bool), **more)  # type: ignore[arg-type]


def test_a_variation_is_the_nearer_to_its_start_the_lower_its_strength() -> None:
    """And it stays a sample of the data at every strength."""
    start = PerSampleGenerator(2, [0]).normal(DRAWS, 5) @ torch.linalg.cholesky(COVARIANCE).T
    similarities = []
    for strength in (0.2, 0.4, 0.6, 0.8, 1.0):
        known = Known(start, torch.zeros(1, 1, 5, dtype=torch.bool), strength)
        noise = PerSampleGenerator(0, [0]).normal(DRAWS, 5)
        x = known.starting_point(noise, SCHEDULE) if strength < 1 else noise
        times = step_times("uniform", 40) * strength
        varied = sample(denoise, x, SCHEDULE, times, PerSampleGenerator(1, [0]), "dpm++2m", known=known)
        # Standard error of a covariance: 0.022.
        assert (varied[0].T.cov() - COVARIANCE).abs().max() < 0.1
        pair = torch.stack([start.flatten(), varied.flatten()])
        similarities.append(torch.corrcoef(pair)[0, 1].item())
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[0] > 0.9 and abs(similarities[-1]) < 0.05
