"""Tempo, key and beats: read from text and facts, turned into signals, dropped per sample."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.conditioning.numbers import (
    MusicNumbers,
    NumberDropout,
    beat_phase,
    draw_dropout,
    key_classes,
    numbers_of_truth,
    parse_key,
    to_batch,
)
from lightning_n2m.errors import InputError
from lightning_n2m.networks.number_embedding import NUMBERS
from lightning_n2m.seeding import PerSampleGenerator


@pytest.mark.parametrize(
    ("text", "key", "classes"),
    [
        ("D minor", ("D", "minor"), (2, 1)),
        ("Dm", ("D", "minor"), (2, 1)),
        ("b flat major", ("Bb", "major"), (10, 0)),
        ("Bb", ("Bb", "major"), (10, 0)),
        ("F#m", ("F#", "minor"), (6, 1)),
        ("f sharp min", ("F#", "minor"), (6, 1)),
        ("B♭ maj", ("Bb", "major"), (10, 0)),
        ("A#", ("A#", "major"), (10, 0)),
        ("Cb major", ("Cb", "major"), (11, 0)),
    ],
)
def test_keys_as_people_write_them(text: str, key: tuple[str, str], classes: tuple[int, int]) -> None:
    assert parse_key(text) == key
    assert key_classes(key) == classes


@pytest.mark.parametrize("text", ["", "H minor", "D dorian", "minor", "Dmm", "D minor\n\nx"])
def test_what_is_not_a_key_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="D minor"):
        parse_key(text)


def test_numbers_of_a_crop_follow_from_the_facts_of_its_track() -> None:
    truth = {"tempo_bpm": 90, "key": "Eb", "mode": "minor", "first_beat_s": 0.5}
    assert numbers_of_truth(truth, 2.5) == MusicNumbers(90.0, ("Eb", "minor"), 3.0)
    # Facts of the first edition do not state the first beat; those of other collections may not either.
    first_edition = {"tempo_bpm": 60, "sound_font": "FluidR3_GM"}
    assert numbers_of_truth(first_edition, 2.5).beat == 2.5
    assert numbers_of_truth({"tempo_bpm": 60}, 2.5) == MusicNumbers(60.0)


@pytest.mark.parametrize("tempo", ["90", True, None, math.nan, math.inf, -90, 0, 5, 1e9, [90], 10**400])
def test_facts_of_strangers_are_checked(tempo: object) -> None:
    truth = {"tempo_bpm": tempo, "key": ["D"], "mode": 7, "first_beat_s": 0.0}
    assert numbers_of_truth(truth, 1.0) == MusicNumbers()
    assert key_classes(("X", "dorian")) == (-1, -1)


def test_the_beat_phase_is_zero_degrees_on_every_beat() -> None:
    """At 100 frames a second and 75 bpm, a beat falls on every 80th frame."""
    numbers = to_batch([MusicNumbers(75.0, None, 0.0), MusicNumbers(75.0, None, 0.25), MusicNumbers(75.0)])
    phase = beat_phase(numbers["tempo"], numbers["beat"], 161, 100.0)
    assert phase.shape == (3, 2, 161) and phase.dtype == torch.float32
    sine, cosine = phase[0]
    torch.testing.assert_close(sine[[0, 80, 160]], torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(cosine[[0, 40, 80]], torch.tensor([1.0, -1.0, 1.0]))
    torch.testing.assert_close(sine[20], torch.tensor(1.0))
    # A clip that begins a quarter of a beat later is the same signal, 20 frames on.
    torch.testing.assert_close(phase[1, :, :141], phase[0, :, 20:])
    # The absent state lies off the circle of all phases.
    assert not phase[2].any()
    torch.testing.assert_close(phase[:2].square().sum(dim=1), torch.ones(2, 161))


def test_phases_stay_exact_over_an_hour() -> None:
    tempo, beat = torch.tensor([123.0]), torch.tensor([0.0])
    rate, seconds = 3200, 3600
    phase = beat_phase(tempo, beat, rate * 2, float(rate))
    late = beat_phase(tempo, torch.tensor([(seconds * 123 / 60) % 1.0]), rate, float(rate))
    assert torch.isfinite(phase).all() and late.shape == (1, 2, rate)
    expected = math.sin(2 * math.pi * (1.5 * 123 / 60))
    assert phase[0, 0, int(1.5 * rate)].item() == pytest.approx(expected, abs=1e-5)


def test_each_number_has_its_own_dropout_per_sample() -> None:
    dropout = NumberDropout(tempo=0.1, tonic=0.3, mode=0.5, beat_phase=0.9)
    clips = 4000
    drop = draw_dropout(NUMBERS, dropout, PerSampleGenerator("0 numbers", range(clips)))
    for name in NUMBERS:
        probability = getattr(dropout, name)
        # Three standard deviations of a binomial distribution.
        deviation = (probability * (1 - probability) / clips) ** 0.5
        assert abs(drop[name].float().mean().item() - probability) < 3 * deviation
    # Independent draws: both are dropped as often as the product of their probabilities says.
    both = (drop["tonic"] & drop["mode"]).float().mean().item()
    assert both == pytest.approx(0.15, abs=0.02)


def test_a_pair_is_dropped_together_and_beside_the_single_numbers() -> None:
    dropout = NumberDropout(0.0, 0.0, 0.0, 0.1, tempo_and_beats=0.3, tonic_and_mode=0.5)
    clips = 4000
    drop = draw_dropout(NUMBERS, dropout, PerSampleGenerator("0 numbers", range(clips)))
    assert torch.equal(drop["tonic"], drop["mode"]) and not (drop["tempo"] & ~drop["beat_phase"]).any()
    for name, probability in {"tempo": 0.3, "tonic": 0.5, "beat_phase": 1 - 0.7 * 0.9}.items():
        deviation = (probability * (1 - probability) / clips) ** 0.5
        assert abs(drop[name].float().mean().item() - probability) < 3 * deviation
    # The draws of the single numbers are those without pairs.
    alone = draw_dropout(
        NUMBERS, NumberDropout(0.0, 0.0, 0.0, 0.1), PerSampleGenerator("0 numbers", range(clips))
    )
    assert torch.equal(alone["beat_phase"] | drop["tempo"], drop["beat_phase"])


def test_dropout_does_not_depend_on_the_batch_or_on_the_other_numbers() -> None:
    dropout = NumberDropout()
    whole = draw_dropout(NUMBERS, dropout, PerSampleGenerator("0 numbers", range(64)))
    part = draw_dropout(("mode",), dropout, PerSampleGenerator("0 numbers", range(10, 20)))
    assert part.keys() == {"mode"} and torch.equal(part["mode"], whole["mode"][10:20])


def test_samples_without_text_lose_all_numbers() -> None:
    text_dropped = torch.arange(64) % 2 == 0
    rng = PerSampleGenerator("0 numbers", range(64))
    drop = draw_dropout(NUMBERS, NumberDropout(0.0, 0.0, 0.0, 0.0), rng, text_dropped)
    assert all(torch.equal(value, text_dropped) for value in drop.values())


def test_probabilities_are_checked() -> None:
    with pytest.raises(InputError, match=r"number_dropout\.mode"):
        NumberDropout(mode=1.5)
