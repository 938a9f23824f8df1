"""Sampling of a stage around its network, with a network that returns the exact answer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_n2m.audio.emphasis import emphasise
from lightning_n2m.diffusion.guidance import Guidance
from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.schedule import CosineSchedule
from lightning_n2m.errors import InputError
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.unet import UNet1d
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.cascaders import SpectrogramVocoder
from lightning_n2m.stages.sampling import DiffusionModule
from lightning_n2m.stages.settings import Sampling
from tests.stages.common import EMPHASIS, SCALE, refiner

UNCLIPPED = Guidance(limit=1e3)


def predict_exactly(stage: DiffusionModule, audio: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Make the network return the exact v of ``audio``; returns the list of its inputs."""
    x0, inputs = emphasise(audio, EMPHASIS) * SCALE, []

    def forward(x: Tensor, t: Tensor, conditions: Conditions | None = None) -> Tensor:
        inputs.append(x)
        level = stage.objective.schedule.at(t)
        return level.alpha * (x - level.alpha * x0) / level.sigma - level.sigma * x0

    monkeypatch.setattr(stage.network, "forward", forward)
    return inputs


def test_a_stage_with_emphasis_returns_the_exact_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = 0.2 * torch.randn(2, 1, 2400)
    stage = refiner(Sampling(num_steps=5, method="dpm++2m", guidance=UNCLIPPED))
    predict_exactly(stage, audio, monkeypatch)
    out = stage.generate(["", ""], 0.1, PerSampleGenerator(0, [0, 1]), torch.zeros(2, 1, 1600))
    torch.testing.assert_close(out, audio, atol=1e-4, rtol=1e-4)


def test_the_tone_filter_removes_what_the_network_cannot_see(monkeypatch: pytest.MonkeyPatch) -> None:
    time = torch.arange(24_000) / 24_000
    tone, music = (0.1 * torch.cos(2 * torch.pi * hertz * time)[None, None] for hertz in (6000, 1000))
    left = {}
    for seconds in (0.0, 0.2):
        stage = refiner(Sampling(num_steps=3, method="ddim", guidance=UNCLIPPED, tone_filter=seconds))
        assert stage.network.first_stride == 4
        predict_exactly(stage, tone + music, monkeypatch)
        out = stage.generate([""], 1.0, PerSampleGenerator(0, [0]), torch.zeros(1, 1, 16_000))
        left[seconds] = float((out - music)[..., 6000:-6000].std() / tone.std())
    assert left[0.0] == pytest.approx(1, abs=0.01) and left[0.2] < 0.01


def test_a_sampling_that_starts_late_starts_from_the_noised_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    audio, low = torch.zeros(1, 1, 2400), 0.3 * torch.randn(1, 1, 1600)
    stage = refiner(Sampling(num_steps=4, start_time=0.4, method="ddim", guidance=UNCLIPPED))
    inputs = predict_exactly(stage, audio, monkeypatch)
    out = stage.generate([""], 0.1, PerSampleGenerator(0, [0]), low)
    assert len(inputs) == 4
    assert stage.conditioner is not None
    rng = PerSampleGenerator(0, [0])
    conditions = stage.conditioner.for_sampling(low, 2400, 0.0, stage.objective.schedule, rng)
    level = stage.objective.schedule.at(torch.tensor([0.4]))
    torch.testing.assert_close(inputs[0], level.diffuse(conditions.stacked, rng.normal(1, 2400)))
    torch.testing.assert_close(out, audio, atol=1e-4, rtol=0)


def test_a_stage_without_a_stacked_waveform_cannot_start_from_one() -> None:
    bare = UNet1d(1, 8, [1, 1], [4, 40], [1, 1], [False] * 2, [False] * 2, 3, aligned_channels=80)
    sampling = Sampling(num_steps=2, start_time=0.5)
    stage = SpectrogramVocoder(network=bare, objective=Objective(CosineSchedule()), sampling=sampling)
    with pytest.raises(
        InputError, match=r"sampling\.start_time is 0\.5, but SpectrogramVocoder has no stacked waveform"
    ):
        stage.generate([""], 0.2, PerSampleGenerator(0, [0]), torch.zeros(1, 80, 20))


def test_the_output_is_consistent_with_the_signal_across_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The known band does not depend on the network; windows of 16 s leave no seam."""
    t = torch.arange(40 * 24_000) / 24_000
    audio = (0.3 * torch.sin(2 * torch.pi * 440.1 * t))[None, None]
    stage = refiner(Sampling(num_steps=2, consistency_iterations=1, method="dpm++2m", guidance=UNCLIPPED))
    assert stage.conditioner is not None
    predict_exactly(stage, torch.zeros(1, 1, 1), monkeypatch)  # silence everywhere
    out = stage.generate([""], 40.0, PerSampleGenerator(0, [0]), stage.conditioner.degrade(audio))
    torch.testing.assert_close(out[..., 500:-500], audio[..., 500:-500], atol=5e-3, rtol=0)


@pytest.mark.parametrize("interval", [(0.0, 1.0), (2.0, 3.0)])
def test_autoguidance_leads_from_the_weak_estimate_past_the_strong_one(
    monkeypatch: pytest.MonkeyPatch, interval: tuple[float, float]
) -> None:
    """With estimates of 1 and 0.4, a scale of 2 gives 2 * 1 - 0.4 where guidance acts, and 1 elsewhere."""
    guidance = Guidance(scale=2.0, limit=1e3)
    stage, weak = (refiner(Sampling(num_steps=3, method="ddim", guidance=guidance)) for _ in range(2))
    object.__setattr__(guidance, "interval", interval)  # The second one acts at no time.
    exact = torch.ones(1, 1, 1) / SCALE
    monkeypatch.setattr("tests.stages.test_sampling.emphasise", lambda audio, coefficient: audio)
    predict_exactly(stage, exact, monkeypatch)
    predict_exactly(weak, 0.4 * exact, monkeypatch)
    weights = set(stage.state_dict())
    stage.guide_by(weak)
    assert set(stage.state_dict()) == weights
    x = torch.randn(1, 1, 2400)
    conditions = Conditions(stacked=torch.zeros(1, 1, 2400))
    x0 = stage._denoise(x, 0.5, conditions=conditions, unconditional=conditions).x0
    expected = 1.6 if interval[0] < 1 else 1.0
    torch.testing.assert_close(x0, torch.full_like(x0, expected), atol=1e-3, rtol=0)


def test_a_weak_stage_whose_output_means_something_else_is_refused() -> None:
    stage, other = refiner(Sampling()), refiner(Sampling())
    other.objective = Objective(CosineSchedule(shift=0.5))
    with pytest.raises(InputError, match="weak stage of guidance has schedule"):
        stage.guide_by(other)
