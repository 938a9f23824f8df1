from __future__ import annotations

import random

import pytest

from data_pipeline.starter_corpus.arrangement import plan
from data_pipeline.starter_corpus.description import Truth, tempo_word, varied_sentences
from lightning_n2m.data.prompt_attributes import PromptAttributes, parse_prompt

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


@pytest.mark.parametrize(
    ("prompt", "tempo", "key"),
    [
        ("A waltz at 120bpm", 120, None),
        ("one hundred and twenty bpm, Am", 120, ("A", "minor")),
        ("Waltz, piano, Eb, tempo 96", 96, ("Eb", "major")),
        ("jazz in F#m at 90 bpm", 90, ("F#", "minor")),
        ("Something in B-flat major, BPM: 80", 80, ("Bb", "major")),
        ("key of Bb", None, ("Bb", "major")),
        ("D minor", None, ("D", "minor")),
        ("Cm, slow", None, ("C", "minor")),
        ("A, B and C", None, None),
        ("Am I here?", None, None),
        ("A song for 4400 bpm", None, None),
        ("music of 1990", None, None),
    ],
)
def test_tempo_and_key_as_people_write_them(prompt, tempo, key):
    attributes = parse_prompt(prompt)
    assert (attributes.tempo, attributes.key) == (tempo, key)


def test_captions_of_the_second_edition_are_read_back():
    """What they say of tempo and key is what the parser finds, in every style."""
    for number in range(300):
        chosen = plan(0, number, 2)
        truth = Truth(
            chosen.style.genre, "", chosen.tempo, tempo_word(chosen.tempo), chosen.key.name, chosen.key.mode,
            chosen.style.metre, ("piano",), "piano", ("piano",), False, True, "", chosen.seed,
        )  # fmt: skip
        for caption in varied_sentences(truth, random.Random(number)):
            attributes = parse_prompt(caption)
            assert attributes.tempo in (None, chosen.tempo), caption
            assert attributes.key in (None, (chosen.key.name, chosen.key.mode)), caption
