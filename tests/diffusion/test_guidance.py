from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_n2m.diffusion.guidance import Guidance, dynamic_clip, finish, guide
from lightning_n2m.diffusion.prediction import prediction_target, to_denoised
from lightning_n2m.diffusion.schedule import CosineSchedule

LEVEL = CosineSchedule().at(torch.tensor([0.2, 0.6]))


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_scale_1_is_the_conditional_estimate():
    conditional, unconditional = randn(2, 2, 1, 40).unbind(0)
    torch.testing.assert_close(guide(conditional, unconditional, 1.0), conditional)
    torch.testing.assert_close(guide(conditional, unconditional, 1.0, rescale=1.0), conditional)


def test_scale_0_is_the_unconditional_estimate():
    conditional, unconditional = randn(2, 2, 1, 40).unbind(0)
    torch.testing.assert_close(guide(conditional, unconditional, 0.0), unconditional)


def test_guidance_extrapolates_from_unconditional_to_conditional():
    conditional, unconditional = torch.tensor([[[2.0]]]), torch.tensor([[[1.5]]])
    assert guide(conditional, unconditional, 10.0).item() == pytest.approx(1.5 + 10 * 0.5)


@pytest.mark.parametrize("kind", ["v", "epsilon"])
def test_guidance_of_any_prediction_is_guidance_of_the_data(kind):
    x_t = randn(2, 1, 64, seed=1)
    with_text, without = (to_denoised("x0", x0, x_t, LEVEL) for x0 in randn(2, 2, 1, 64, seed=2))
    outputs = (prediction_target(kind, e.x0, e.epsilon, LEVEL) for e in (with_text, without))
    through_output = to_denoised(kind, guide(*outputs, 5.0), x_t, LEVEL)
    torch.testing.assert_close(through_output.x0, guide(with_text.x0, without.x0, 5.0), atol=1e-4, rtol=1e-4)


def test_full_rescaling_gives_the_standard_deviation_of_the_conditional_estimate():
    conditional = randn(3, 2, 500) * torch.tensor([0.1, 1.0, 4.0])[:, None, None]
    guided = guide(conditional, randn(3, 2, 500, seed=1), 8.0, rescale=1.0)
    torch.testing.assert_close(guided.std(dim=(1, 2)), conditional.std(dim=(1, 2)))


def test_partial_rescaling_is_linear():
    conditional, unconditional = randn(2, 2, 1, 500).unbind(0)
    none, half, full = (guide(conditional, unconditional, 6.0, rescale) for rescale in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half, (none + full) / 2)


def test_guidance_acts_within_its_interval_only():
    guidance = Guidance(scale=3.0, interval=(0.2, 0.8))
    assert [guidance.acts_at(t) for t in (0.0, 0.19, 0.2, 0.5, 0.8, 0.81, 1.0)] == [
        False, False, True, True, True, False, False,
    ]  # fmt: skip
    assert not Guidance(scale=1.0).acts_at(0.5)
    assert Guidance(scale=3.0).acts_at(1.0)
    assert Guidance(scale=3.0).acts_at(0.0)


@given(
    seed=st.integers(0, 1000),
    spread=st.floats(0.05, 20),
    percentile=st.floats(0.5, 1.0),
    limit=st.floats(0.5, 4.0),
)
def test_clipped_values_are_within_the_limit_and_never_larger(seed, spread, percentile, limit):
    x0 = spread * randn(2, 1, 200, seed=seed)
    clipped = dynamic_clip(x0, percentile, limit)
    assert clipped.abs().max() <= limit * (1 + 1e-6)
    assert (clipped.abs() <= x0.abs() * (1 + 1e-6)).all()
    assert (clipped * x0 >= 0).all()


@pytest.mark.parametrize("limit", [1.0, 3.0])
def test_clipping_divides_by_the_percentile_of_each_sample(limit):
    x0 = randn(3, 2, 1000) * torch.tensor([4.0, 9.0, 40.0])[:, None, None]
    clipped = dynamic_clip(x0, 0.9, limit)
    for row, out in zip(x0.numpy(), clipped.numpy(), strict=True):
        s = np.percentile(np.abs(row), 90, method="inverted_cdf")
        np.testing.assert_allclose(out, np.clip(row, -s, s) / s * limit, rtol=1e-5)


def test_samples_within_the_limit_are_unchanged():
    x0 = torch.stack([0.9 * torch.sin(torch.arange(300.0)), 50 * torch.sin(torch.arange(300.0))])[:, None]
    clipped = dynamic_clip(x0, 0.995)
    assert torch.equal(clipped[0], x0[0])
    assert clipped[1].abs().max() == pytest.approx(1.0)


def test_values_beyond_the_percentile_are_clipped_without_scaling_the_rest():
    x0 = torch.full((1, 1, 1000), 0.5)
    x0[..., :3] = 7.0
    clipped = dynamic_clip(x0, 0.995)
    assert (clipped[..., :3] == 1.0).all()
    assert (clipped[..., 3:] == 0.5).all()


def test_the_noise_is_computed_from_the_clipped_data():
    x_t, x0 = randn(2, 1, 64), 5 * randn(2, 1, 64, seed=1)
    estimate = finish(x0, x_t, LEVEL, Guidance(clip=0.95))
    torch.testing.assert_close(estimate.x0, dynamic_clip(x0, 0.95))
    torch.testing.assert_close(LEVEL.diffuse(estimate.x0, estimate.epsilon), x_t)
    unclipped = finish(x0, x_t, LEVEL, Guidance(clip=None))
    assert torch.equal(unclipped.x0, x0)
