"""Tempo and key set beside the prompt: conditions of a network that takes them, else words."""

from __future__ import annotations

import math

import pytest

from lightning_n2m.conditioning.numbers import MusicNumbers
from lightning_n2m.data.requested_numbers import RequestedNumbers
from lightning_n2m.errors import InputError


@pytest.mark.parametrize(
    ("bpm", "key", "prompt", "expected"),
    [
        (None, None, "a waltz", MusicNumbers()),
        (None, "", "a waltz at 90 bpm in Dm", MusicNumbers(90.0, ("D", "minor"), 0.0)),
        (120, "Bb", "a waltz", MusicNumbers(120, ("Bb", "major"), 0.0)),
        (90, "A# major", "a waltz in Bb major at 90 bpm", MusicNumbers(90, ("A#", "major"), 0.0)),
        (None, "D minor", "a waltz at 90 bpm", MusicNumbers(90.0, ("D", "minor"), 0.0)),
    ],
)
def test_what_is_set_comes_before_what_the_prompt_names(
    bpm: float | None, key: str | None, prompt: str, expected: MusicNumbers
) -> None:
    assert RequestedNumbers.parse(bpm, key).numbers(prompt) == expected


@pytest.mark.parametrize(
    ("bpm", "key", "message"),
    [
        (120, None, "names 90 bpm, but model.bpm is 120"),
        (None, "E", "names D minor, but model.key is E major"),
    ],
)
def test_contradictions_are_refused(bpm: float | None, key: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RequestedNumbers.parse(bpm, key).numbers("a waltz in D minor at 90 bpm")


@pytest.mark.parametrize("bpm", [0, -5, 1000, math.nan, math.inf])
def test_tempi_out_of_range_are_refused(bpm: float) -> None:
    with pytest.raises(InputError, match=r"model\.bpm"):
        RequestedNumbers.parse(bpm, None)


@pytest.mark.parametrize(
    ("names", "prompt", "expected"),
    [
        ((), "A slow waltz.", "A slow waltz, 120 bpm, D minor"),
        ((), "A waltz at 120 bpm", "A waltz at 120 bpm, D minor"),
        (("tempo",), "A slow waltz.", "A slow waltz, D minor"),
        (("tonic", "mode"), "A slow waltz.", "A slow waltz, 120 bpm"),
        (("tempo", "tonic", "mode", "beat_phase"), "A slow waltz.", "A slow waltz."),
        ((), "", "120 bpm, D minor"),
    ],
)
def test_numbers_that_the_network_does_not_take_become_words(names, prompt, expected) -> None:  # type: ignore[no-untyped-def]
    assert RequestedNumbers.parse(120, "Dm").prompt_for(prompt, names) == expected
    assert RequestedNumbers().prompt_for(prompt, names) == prompt
