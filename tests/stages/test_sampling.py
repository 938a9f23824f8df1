"""What a stage does around its network, seen through a network that knows the answer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_n2m.audio.emphasis import emphasise
from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.diffusion.guidance import Guidance
from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.schedule import CosineSchedule
from lightning_n2m.errors import InputError
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.unet import UNet1d
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.cascaders import SpectrogramVocoder, SuperResolution
from lightning_n2m.stages.sampling import DiffusionModule
from lightning_n2m.stages.settings import Sampling

EMPHASIS, SCALE = 0.9, 5.0
UNCLIPPED = Guidance(limit=1e3)


def network(strides: list[int], **more: int) -> UNet1d:
    off, ones = [False] * len(strides), [1] * len(strides)
    return UNet1d(1, 8, ones, strides, ones, off, off, 3, stacked_channels=1, **more)


def refiner(sampling: Sampling) -> SuperResolution:
    objective = Objective(CosineSchedule(shift=1.0))
    return SuperResolution(
        network=network([4]), objective=objective, scale=SCALE, emphasis=EMPHASIS, sampling=sampling
    )


def knowing(stage: DiffusionModule, audio: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Let the network answer with the true v of ``audio``; returns what it is shown, call by call."""
    x0, shown = emphasise(audio, EMPHASIS) * SCALE, []

    def forward(x: Tensor, t: Tensor, conditions: Conditions | None = None) -> Tensor:
        shown.append(x)
        level = stage.objective.schedule.at(t)
        return level.alpha * (x - level.alpha * x0) / level.sigma - level.sigma * x0

    monkeypatch.setattr(stage.network, "forward", forward)
    return shown


def test_an_emphasised_stage_gives_audio_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = 0.2 * torch.randn(2, 1, 2400)
    stage = refiner(Sampling(num_steps=5, method="dpm++2m", guidance=UNCLIPPED))
    knowing(stage, audio, monkeypatch)
    out = stage.generate(["", ""], 0.1, PerSampleGenerator(0, [0, 1]), torch.zeros(2, 1, 1600))
    torch.testing.assert_close(out, audio, atol=1e-4, rtol=1e-4)


def test_a_sampling_that_starts_late_starts_from_the_noised_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    audio, low = torch.zeros(1, 1, 2400), 0.3 * torch.randn(1, 1, 1600)
    stage = refiner(Sampling(num_steps=4, start_time=0.4, method="ddim", guidance=UNCLIPPED))
    shown = knowing(stage, audio, monkeypatch)
    out = stage.generate([""], 0.1, PerSampleGenerator(0, [0]), low)
    assert len(shown) == 4
    assert stage.conditioner is not None
    rng = PerSampleGenerator(0, [0])
    told = stage.conditioner.for_sampling(low, 2400, 0.0, stage.objective.schedule, rng)
    level = stage.objective.schedule.at(torch.tensor([0.4]))
    torch.testing.assert_close(shown[0], level.diffuse(told.stacked, rng.normal(1, 2400)))
    torch.testing.assert_close(out, audio, atol=1e-4, rtol=0)


def test_a_stage_without_a_stacked_waveform_cannot_start_from_one() -> None:
    bare = UNet1d(1, 8, [1, 1], [4, 40], [1, 1], [False] * 2, [False] * 2, 3, aligned_channels=80)
    sampling = Sampling(num_steps=2, start_time=0.5)
    stage = SpectrogramVocoder(network=bare, objective=Objective(CosineSchedule()), sampling=sampling)
    with pytest.raises(
        InputError, match=r"sampling\.start_time is 0\.5, but SpectrogramVocoder has no stacked waveform"
    ):
        stage.generate([""], 0.2, PerSampleGenerator(0, [0]), torch.zeros(1, 80, 20))


def test_training_and_conditions_are_emphasised_alike() -> None:
    """Low-fidelity audio that lacks nothing is told exactly as the target is shown."""
    t = torch.arange(2400) / 24_000
    audio = (0.3 * torch.sin(2 * torch.pi * 440 * t))[None, None]
    stage = refiner(Sampling())
    told = stage.build_conditions(
        {"audio": audio, "caption": [""]}, 2400, PerSampleGenerator(0, [0]), training=False
    )
    assert told.stacked is not None
    torch.testing.assert_close(
        told.stacked[..., 200:-200], stage.to_x0(audio)[..., 200:-200], atol=0.02, rtol=0
    )


def test_a_vocoder_with_a_draft_is_told_spectrogram_and_draft() -> None:
    stage = SpectrogramVocoder(
        network=network([4, 40], aligned_channels=80),
        objective=Objective(CosineSchedule()),
        draft_iterations=2,
        scale=SCALE,
        emphasis=EMPHASIS,
        sampling=Sampling(num_steps=2),
    )
    audio = 0.1 * torch.randn(1, 1, 3200)
    told = stage.build_conditions(
        {"audio": audio, "caption": [""]}, 3200, PerSampleGenerator(0, [0]), training=False
    )
    assert told.aligned is not None and told.stacked is not None
    torch.testing.assert_close(told.aligned, log_mel(audio, MelSettings()))
    assert stage.generate([""], 0.2, PerSampleGenerator(0, [0]), told.aligned).shape == (1, 1, 3200)


def test_the_finished_audio_agrees_with_the_signal_also_across_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a network says of the known band does not matter; windows of 16 s leave no seam."""
    t = torch.arange(40 * 24_000) / 24_000
    audio = (0.3 * torch.sin(2 * torch.pi * 440.1 * t))[None, None]
    stage = refiner(Sampling(num_steps=2, consistency_iterations=1, method="dpm++2m", guidance=UNCLIPPED))
    assert stage.conditioner is not None
    knowing(stage, torch.zeros(1, 1, 1), monkeypatch)  # whose network hears silence everywhere
    out = stage.generate([""], 40.0, PerSampleGenerator(0, [0]), stage.conditioner.degrade(audio))
    torch.testing.assert_close(out[..., 500:-500], audio[..., 500:-500], atol=5e-3, rtol=0)
