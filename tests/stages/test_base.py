"""Training augments and drops conditions per sample; sampling guides away from the unconditional branch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_n2m.conditioning.conditioner import Augmentation
from lightning_n2m.conditioning.known_regions import KnownRegions
from lightning_n2m.conditioning.numbers import MusicNumbers, NumberDropout, to_batch
from lightning_n2m.conditioning.text import EncodedText
from lightning_n2m.diffusion.guidance import Guidance
from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.schedule import CosineSchedule
from lightning_n2m.errors import InputError
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.number_embedding import NUMBERS
from lightning_n2m.networks.unet import UNet1d
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.cascaders import WaveformCascader
from lightning_n2m.stages.generators import WaveformGenerator
from lightning_n2m.stages.settings import Sampling

CLIPS, LENGTH, T_MAX, DROPOUT = 64, 320, 0.5, 0.3
# Value of each prompt in the vectors of `Encoder`.
VALUES = {"": 0.0, "prompt": 1.0, "negative": 2.0}


class Encoder:
    """A text encoder with one token, whose vector holds the value of the prompt."""

    model, max_tokens = "none", 1

    def encode(self, captions: Sequence[str], device: torch.device) -> EncodedText:
        states = torch.tensor([VALUES[caption] for caption in captions]).repeat(4, 1, 1).permute(2, 1, 0)
        return EncodedText(states, torch.ones(len(captions), 1, dtype=torch.bool))


def unet(**options: Any) -> UNet1d:
    return UNet1d(1, 8, [1, 1], [4, 2], [1, 1], [False] * 2, [False, True], 3, text_channels=4, **options)


def cascader() -> WaveformCascader:
    return WaveformCascader(
        text=Encoder(),  # type: ignore[arg-type]
        network=unet(stacked_channels=1, augmentation_level=True),
        objective=Objective(CosineSchedule()),
        seconds=LENGTH / 16_000,
        augmentation=Augmentation(t_max=T_MAX),
        text_dropout=DROPOUT,
    )


def batch(clips: int = CLIPS) -> Any:
    """The same clip and prompt with different sample numbers."""
    audio = 0.3 * torch.randn(1, 1, LENGTH, generator=torch.Generator().manual_seed(0))
    return {
        "audio": audio.expand(clips, 1, LENGTH),
        "caption": ["prompt"] * clips,
        "key": ["clip"] * clips,
        "number": torch.arange(clips),
    }


def training_conditions(stage: Stage, monkeypatch: pytest.MonkeyPatch, clips: int = CLIPS) -> Conditions:
    """Conditions that the network gets in a training step."""
    received: list[Conditions] = []

    def forward(x: Tensor, t: Tensor, conditions: Conditions | None = None) -> Tensor:
        assert conditions is not None
        received.append(conditions)
        return x

    monkeypatch.setattr(stage.network, "forward", forward)
    monkeypatch.setattr(stage, "log", lambda *args, **options: None)
    stage.training_step(batch(clips), 0)
    (conditions,) = received
    return conditions


def test_a_training_step_augments_the_conditioning_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 4.1 and appendix C: noise to a time that is uniform in [0, t_max], one for each sample."""
    stage = cascader()
    conditions = training_conditions(stage, monkeypatch)
    level, stacked = conditions.level, conditions.stacked
    assert level is not None and stacked is not None
    assert 0 < level.min() < 0.1 * T_MAX and 0.9 * T_MAX < level.max() < T_MAX
    assert len(level.unique()) == CLIPS
    rng = PerSampleGenerator(0, range(CLIPS))
    clean = stage.build_conditions(batch(), LENGTH, rng, training=False).stacked
    assert clean is not None
    # The signal is alpha(level) times the clean one, plus noise of standard deviation sigma(level).
    noise_level = stage.objective.schedule.at(level)
    noise = (stacked - noise_level.alpha * clean) / noise_level.sigma
    assert noise.mean().abs() < 0.05
    assert noise.std().item() == pytest.approx(1, abs=0.05)


def test_sampling_does_not_augment() -> None:
    stage = cascader()
    conditions = stage.build_conditions(batch(2), LENGTH, PerSampleGenerator(0, [0, 1]), training=False)
    assert conditions.level is not None and conditions.stacked is not None
    assert conditions.level.tolist() == [0, 0]
    assert torch.equal(conditions.stacked[0], conditions.stacked[1])
    assert conditions.text_mask is not None and conditions.text_mask.all()


def test_a_training_step_drops_the_text_of_some_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 3.4: each sample loses its text with the given probability, independently of its batch."""
    mask = training_conditions(cascader(), monkeypatch).text_mask
    assert mask is not None
    dropped = ~mask[:, 0]
    # Three standard deviations of a binomial distribution.
    expected, deviation = DROPOUT * CLIPS, (DROPOUT * (1 - DROPOUT) * CLIPS) ** 0.5
    assert abs(int(dropped.sum()) - expected) < 3 * deviation
    # The decision follows from the sample's number: a smaller batch has the same one.
    smaller = training_conditions(cascader(), monkeypatch, clips=10).text_mask
    assert smaller is not None and torch.equal(smaller, mask[:10])


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_text_is_dropped_never_or_always(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = cascader()
    stage.text_dropout = dropout
    mask = training_conditions(stage, monkeypatch).text_mask
    assert mask is not None
    assert mask.all() if dropout == 0 else not mask.any()


@pytest.mark.parametrize(
    ("caption", "negative", "scale", "expected"),
    [
        ("prompt", "", 1.0, 1.0),  # no guidance: the conditional estimate
        ("prompt", "", 3.0, 3.0),  # 0 + 3 (1 - 0)
        ("prompt", "negative", 3.0, -1.0),  # 2 + 3 (1 - 2)
        ("", "", 3.0, 0.0),  # an empty prompt is the null text in both branches
    ],
)
def test_generate_guides_from_the_unconditional_to_the_conditional_estimate(
    monkeypatch: pytest.MonkeyPatch, caption: str, negative: str, scale: float, expected: float
) -> None:
    """The network predicts data that equal the value of its prompt, and 0 for the null text."""
    stage = WaveformGenerator(
        text=Encoder(),  # type: ignore[arg-type]
        network=unet(),
        objective=Objective(CosineSchedule()),
        sampling=Sampling(num_steps=3, method="ddim", guidance=Guidance(scale=scale, limit=100)),
    )

    def forward(x: Tensor, t: Tensor, conditions: Conditions | None = None) -> Tensor:
        assert conditions is not None and conditions.text is not None and conditions.text_mask is not None
        x0 = (conditions.text[..., :1] * conditions.text_mask[..., None]).expand_as(x)
        level = stage.objective.schedule.at(t)
        return level.alpha * (x - level.alpha * x0) / level.sigma - level.sigma * x0

    monkeypatch.setattr(stage.network, "forward", forward)
    output = stage.generate([caption], 0.01, PerSampleGenerator(0, [0]), negative=negative)
    torch.testing.assert_close(output, torch.full((1, 1, 32), expected), atol=1e-3, rtol=0)


def generator(**options: Any) -> WaveformGenerator:
    return WaveformGenerator(
        text=Encoder(),  # type: ignore[arg-type]
        network=unet(numbers=NUMBERS),
        objective=Objective(CosineSchedule()),
        seconds=LENGTH / 3200,
        text_dropout=DROPOUT,
        **options,
    )


def batch_with_numbers(clips: int) -> Any:
    known = MusicNumbers(90.0, ("D", "minor"), 0.25)
    return batch(clips) | {"numbers": to_batch([known] * clips)}


def received_in_training(
    stage: Stage, given: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[Conditions, Tensor]:
    """Conditions and noised input that the network gets in a training step."""
    received: list[tuple[Conditions, Tensor]] = []

    def forward(x: Tensor, t: Tensor, conditions: Conditions | None = None) -> Tensor:
        assert conditions is not None
        received.append((conditions, x))
        return x

    monkeypatch.setattr(stage.network, "forward", forward)
    monkeypatch.setattr(stage, "log", lambda *args, **options: None)
    stage.training_step(given, 0)
    return received[0]


def test_a_training_step_drops_numbers_per_sample_and_all_of_them_with_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clips, dropout = 400, NumberDropout(tempo=0.2, tonic=0.4, mode=0.6, beat_phase=0.1)
    stage = generator(number_dropout=dropout)
    conditions, _ = received_in_training(stage, batch_with_numbers(clips), monkeypatch)
    assert conditions.text_mask is not None and conditions.tempo is not None
    assert conditions.tonic is not None and conditions.mode is not None and conditions.beat_phase is not None
    without_text = ~conditions.text_mask[:, 0]
    absent = {
        "tempo": conditions.tempo.isnan(),
        "tonic": conditions.tonic == -1,
        "mode": conditions.mode == -1,
        "beat_phase": ~conditions.beat_phase.flatten(1).any(dim=1),
    }
    for name, is_absent in absent.items():
        assert is_absent[without_text].all()
        share, probability = is_absent[~without_text].float().mean().item(), getattr(dropout, name)
        count = int((~without_text).sum())
        assert abs(share - probability) < 3 * (probability * (1 - probability) / count) ** 0.5
    assert set(conditions.tempo[~absent["tempo"]].tolist()) == {90.0}
    assert set(conditions.tonic[~absent["tonic"]].tolist()) == {2}
    assert set(conditions.mode[~absent["mode"]].tolist()) == {1}
    # A quarter of a beat: the sine begins at its maximum.
    assert conditions.beat_phase[~absent["beat_phase"], 0, 0].allclose(torch.ones(()))
    # A part of the batch has the same draws.
    smaller, _ = received_in_training(generator(number_dropout=dropout), batch_with_numbers(30), monkeypatch)
    assert smaller.tonic is not None and torch.equal(smaller.tonic, conditions.tonic[:30])


def test_numbers_leave_the_other_draws_of_a_sample_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = generator()
    plain = WaveformGenerator(
        text=Encoder(),  # type: ignore[arg-type]
        network=unet(),
        objective=Objective(CosineSchedule()),
        seconds=LENGTH / 3200,
        text_dropout=DROPOUT,
    )
    conditions, x = received_in_training(stage, batch_with_numbers(CLIPS), monkeypatch)
    other, other_x = received_in_training(plain, batch(CLIPS), monkeypatch)
    assert conditions.text_mask is not None and other.text_mask is not None
    assert torch.equal(x, other_x) and torch.equal(conditions.text_mask, other.text_mask)
    assert other.tempo is None and other.beat_phase is None


def test_a_batch_without_numbers_trains_with_absent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    conditions, _ = received_in_training(generator(), batch(4), monkeypatch)
    assert conditions.tempo is not None and conditions.tempo.isnan().all()
    assert conditions.tonic is not None and conditions.tonic.tolist() == [-1] * 4


def test_validation_keeps_all_numbers() -> None:
    rng = PerSampleGenerator(0, range(8))
    conditions = generator().build_conditions(batch_with_numbers(8), LENGTH, rng, training=False)
    assert conditions.tempo is not None and conditions.tempo.tolist() == [90.0] * 8


@pytest.mark.parametrize(
    ("prompt", "numbers", "tempo", "tonic"),
    [
        ("a waltz in D minor at 90 bpm", None, 90.0, 2),
        ("a waltz", None, None, -1),
        ("a waltz at 90 bpm", MusicNumbers(140.0, ("Eb", "major"), 0.0), 140.0, 3),
    ],
)
def test_sampling_takes_numbers_from_the_prompt_or_as_given(
    prompt: str,
    numbers: MusicNumbers | None,
    tempo: float | None,
    tonic: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(VALUES, prompt, 1.0)
    stage = generator(sampling=Sampling(num_steps=1, guidance=Guidance(scale=2.0)))
    received: list[Conditions] = []

    def forward(x: Tensor, t: Tensor, conditions: Conditions | None = None) -> Tensor:
        assert conditions is not None
        received.append(conditions)
        return x

    monkeypatch.setattr(stage.network, "forward", forward)
    given = None if numbers is None else [numbers]
    stage.generate([prompt], LENGTH / 3200, PerSampleGenerator(0, [0]), numbers=given)
    both = received[0]
    assert both.tempo is not None and both.tonic is not None and both.beat_phase is not None
    assert both.text_mask is not None
    # The first half is the conditional branch of guidance; the second lacks text and numbers together.
    assert both.tempo[0].item() == tempo if tempo else both.tempo[0].isnan()
    assert both.tonic.tolist() == [tonic, -1] and both.tempo[1].isnan()
    assert bool(both.beat_phase[0].any()) == (tempo is not None) and not both.beat_phase[1].any()
    assert both.text_mask[:, 0].tolist() == [True, False]
    if tempo:
        steps = torch.arange(LENGTH, dtype=torch.float64)
        torch.testing.assert_close(
            both.beat_phase[0, 1], (2 * torch.pi * steps / 3200 * tempo / 60).cos().float()
        )


def known_generator(**changes: Any) -> WaveformGenerator:
    settings: dict[str, Any] = {
        "network": unet(known_channels=2),
        "known_regions": KnownRegions(prefix=1, suffix=0, outside=0),
        **changes,
    }
    return WaveformGenerator(
        text=Encoder(),  # type: ignore[arg-type]
        objective=Objective(CosineSchedule()),
        seconds=LENGTH / 3200,
        **settings,
    )


def test_training_with_known_regions_shows_the_network_a_part_of_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = known_generator()
    known = training_conditions(stage, monkeypatch).known
    assert known is not None and known.shape == (CLIPS, 2, LENGTH)
    mask = known[:, 1:]
    assert torch.equal(known[:, :1], batch()["audio"] * mask)
    # Prefixes of different lengths, of at least a tenth and at most nine tenths.
    lengths = mask.sum(dim=(1, 2))
    assert len(lengths.unique()) > 10
    assert lengths.min() >= 0.1 * LENGTH - 1 and lengths.max() <= 0.9 * LENGTH + 1
    assert all(row[: int(n)].all() for row, n in zip(mask[:, 0], lengths, strict=True))


def losses_with_error_in_known_regions(error: float, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Losses of training and validation of a network whose output is wrong where the target is known."""
    losses: dict[str, Tensor] = {}
    stage = known_generator()

    def forward(x: Tensor, t: Tensor, conditions: Conditions | None = None) -> Tensor:
        assert conditions is not None and conditions.known is not None
        return error * conditions.known[:, 1:].expand_as(x)

    monkeypatch.setattr(stage.network, "forward", forward)
    monkeypatch.setattr(stage, "log", lambda name, value, **options: losses.update({name: value}))
    stage.training_step(batch(), 0)
    stage.validation_step(batch(), 0)
    return losses


def test_the_loss_of_known_regions_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = (losses_with_error_in_known_regions(error, monkeypatch) for error in (0.0, 1e3))
    assert right.keys() == wrong.keys() >= {"train/loss", "val/loss"}
    torch.testing.assert_close(right, wrong)


def test_known_regions_and_their_input_belong_together() -> None:
    for changes, message in (
        ({"network": unet()}, "known_channels is not set"),
        ({"known_regions": None}, "known_channels is set"),
        ({"network": unet(known_channels=3)}, "set it to 2"),
    ):
        with pytest.raises(InputError, match=message):
            known_generator(**changes)
