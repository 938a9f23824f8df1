from __future__ import annotations

import pytest

from lightning_n2m.evaluation.prompt_attributes import PromptAttributes, parse_prompt

GENRES = ("blues", "slow blues", "waltz", "jazz", "gypsy jazz")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (
            "A slow blues with tenor saxophone, electric piano and drums at 72 bpm.",
            PromptAttributes(frozenset({"woodwind", "piano"}), True, 72.0, None, "slow blues"),
        ),
        (
            "A waltz for solo violin in Bb minor, 90 beats per minute",
            PromptAttributes(frozenset({"strings"}), False, 90.0, ("Bb", "minor"), "waltz"),
        ),
        ("Steel drums over synth strings in F sharp major", PromptAttributes(
            frozenset({"percussion", "ensemble"}), None, None, ("F#", "major"), None)),
        ("Gypsy jazz with jazz guitar, without drums", PromptAttributes(
            frozenset({"guitar"}), False, None, None, "gypsy jazz")),
        ("Something sad", PromptAttributes()),
    ],
)  # fmt: skip
def test_attributes_of_a_prompt(prompt, expected):
    assert parse_prompt(prompt, GENRES) == expected


def test_attributes_are_counted():
    assert parse_prompt("Something sad").count == 0
    assert parse_prompt("A waltz for piano and flute in C major at 90 bpm, no drums", GENRES).count == 6
