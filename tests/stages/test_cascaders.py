from __future__ import annotations

import torch

from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.schedule import CosineSchedule
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.cascaders import SpectrogramVocoder
from lightning_n2m.stages.settings import Sampling
from tests.stages.common import EMPHASIS, SCALE, network, refiner


def test_target_and_conditions_have_the_same_emphasis() -> None:
    """The condition of audio without high frequencies equals the target."""
    t = torch.arange(2400) / 24_000
    audio = (0.3 * torch.sin(2 * torch.pi * 440 * t))[None, None]
    stage = refiner(Sampling())
    conditions = stage.build_conditions(
        {"audio": audio, "caption": [""]}, 2400, PerSampleGenerator(0, [0]), training=False
    )
    assert conditions.stacked is not None
    torch.testing.assert_close(
        conditions.stacked[..., 200:-200], stage.to_x0(audio)[..., 200:-200], atol=0.02, rtol=0
    )


def test_a_vocoder_with_a_draft_has_spectrogram_and_draft_as_conditions() -> None:
    stage = SpectrogramVocoder(
        network=network([4, 40], aligned_channels=80),
        objective=Objective(CosineSchedule()),
        draft_iterations=2,
        scale=SCALE,
        emphasis=EMPHASIS,
        sampling=Sampling(num_steps=2),
    )
    audio = 0.1 * torch.randn(1, 1, 3200)
    conditions = stage.build_conditions(
        {"audio": audio, "caption": [""]}, 3200, PerSampleGenerator(0, [0]), training=False
    )
    assert conditions.aligned is not None and conditions.stacked is not None
    torch.testing.assert_close(conditions.aligned, log_mel(audio, MelSettings()))
    assert stage.generate([""], 0.2, PerSampleGenerator(0, [0]), conditions.aligned).shape == (1, 1, 3200)
