from __future__ import annotations

import pytest
import torch

from lightning_n2m.audio.mel import MelSettings, griffin_lim, log_mel
from lightning_n2m.conditioning.conditioner import Augmentation
from lightning_n2m.conditioning.spectrogram import Spectrogram
from lightning_n2m.diffusion.schedule import CosineSchedule, LinearSchedule
from lightning_n2m.seeding import PerSampleGenerator
from tests.conditioning.common import VOCODER, tones


def test_the_draft_of_a_long_spectrogram_is_computed_in_windows():
    mel = MelSettings()
    conditioner = Spectrogram(mel, Augmentation(), draft_iterations=2)
    length = 70 * mel.sample_rate
    spectrogram = log_mel(tones(mel.sample_rate, length), mel)
    draft = conditioner.network_inputs(spectrogram, length)["stacked"]
    whole = griffin_lim(spectrogram, mel, 2)
    assert draft.shape == whole.shape
    # Equal power everywhere, also where windows overlap.
    for start in range(0, length, length // 14):
        part = slice(start, start + length // 14)
        power, expected = (float(x[..., part].square().mean()) for x in (draft, whole))
        assert power == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("time", [16_000, 16_001, 15_999])
def test_projection_brings_the_log_mel_to_that_of_the_condition(time):
    target = VOCODER.degrade(tones(16_000, 16_000, (220, 660, 1500)))
    audio = 0.05 * torch.randn(1, 1, time, generator=torch.Generator().manual_seed(0))
    distances = []
    for _ in range(30):
        assert audio.shape == (1, 1, time)
        mel = VOCODER.degrade(audio)
        distances.append(float((mel[..., :99] - target[..., :99]).abs().mean()))
        audio = VOCODER.project(audio, target)
    assert distances[10] < distances[1] < distances[0]
    assert distances[-1] < 0.15 * distances[0]


def test_projection_onto_its_own_log_mel_keeps_the_audio():
    audio = tones(16_000, 16_000, (220, 660, 1500))
    projected = VOCODER.project(audio, VOCODER.degrade(audio))
    torch.testing.assert_close(projected[..., 800:-800], audio[..., 800:-800], atol=2e-3, rtol=0)


def test_the_spectrogram_has_a_frame_for_every_hop_of_the_output():
    audio = tones(16_000, 64_000)
    assert torch.equal(VOCODER.degrade(audio), log_mel(audio, MelSettings()))
    assert VOCODER.match_length(VOCODER.degrade(audio), 64_000).shape == (1, 80, 400)
    assert VOCODER.match_length(VOCODER.degrade(audio), 32_000).shape == (1, 80, 200)
    assert VOCODER.match_length(VOCODER.degrade(audio), 32_001).shape == (1, 80, 201)


def test_frames_are_centred_on_their_time():
    audio = torch.zeros(1, 1, 64_000)
    audio[..., 123 * 160] = 1
    assert VOCODER.degrade(audio).mean(1).argmax() == 123


def test_spectrograms_are_augmented_as_the_aligned_input():
    mel = VOCODER.degrade(tones(16_000, 16_000).expand(3, 1, -1))
    conditions = VOCODER.augmented(mel, 16_000, LinearSchedule(), PerSampleGenerator(0, range(3)))
    assert conditions.stacked is None
    assert conditions.aligned.shape == (3, 80, 100)
    assert not torch.allclose(conditions.aligned, mel, atol=0.1)
    assert (
        VOCODER.for_sampling(mel, 16_000, 0.0, LinearSchedule(), PerSampleGenerator(0, range(3))).aligned
        is not None
    )


def test_the_draft_is_computed_from_the_noised_spectrogram():
    settings, scale = MelSettings(), 2.5
    drafting = Spectrogram(settings, Augmentation(0.2), scale, draft_iterations=3, draft_scale=4.0)
    assert drafting.input_slots == ("aligned", "stacked")
    mel = drafting.degrade(tones(16_000, 15_900).expand(2, 1, -1))
    for conditions in (
        drafting.augmented(mel, 15_900, CosineSchedule(), PerSampleGenerator(0, range(2))),
        drafting.for_sampling(mel, 15_900, 0.1, CosineSchedule(), PerSampleGenerator(0, range(2))),
    ):
        assert conditions.stacked.shape == (2, 1, 15_900)
        expected = 4.0 * griffin_lim(conditions.aligned / scale, settings, 3)
        torch.testing.assert_close(conditions.stacked[..., :15_840], expected)
        assert not conditions.stacked[..., 15_840:].any()  # not a whole frame
