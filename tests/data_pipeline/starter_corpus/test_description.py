"""Captions, tags and titles state only facts of the piece."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.starter_corpus.description import (
    RESERVED,
    Truth,
    is_reserved,
    number_words,
    sentences,
    tags,
    title,
    varied_sentences,
)
from data_pipeline.starter_corpus.instruments import INSTRUMENTS
from lightning_n2m.data.instruments import NAMES
from tests.data_pipeline.starter_corpus.common import STYLES


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "zero"), (13, "thirteen"), (20, "twenty"), (58, "fifty-eight"), (100, "one hundred"),
     (112, "one hundred and twelve"), (145, "one hundred and forty-five")],
)  # fmt: skip
def test_numbers_in_words(number: int, words: str) -> None:
    assert number_words(number) == words


truths = st.builds(
    Truth,
    genre=st.sampled_from(sorted({style.genre for style in STYLES})),
    groove=st.just("groove"),
    tempo_bpm=st.just(100),
    tempo=st.sampled_from(["slow", "moderate", "fast"]),
    key=st.sampled_from(["A", "Eb", "F#"]),
    mode=st.sampled_from(["major", "minor"]),
    metre=st.sampled_from(["3/4", "4/4"]),
    instruments=st.sampled_from(
        [("piano",), ("strings", "piano"), ("oboe", "piano", "harp", "tuba", "organ")]
    ),
    lead=st.just("piano"),
    families=st.just(("piano",)),
    drums=st.booleans(),
    solo=st.just(False),
    sound_font=st.just("font"),
    seed=st.just("0/0"),
)


def test_combinations_are_set_apart_as_a_whole() -> None:
    """Whether a piece may be trained on depends on lead, genre and tempo together and on nothing else."""
    base = {
        "groove": "", "tempo_bpm": 100, "key": "A", "mode": "major", "metre": "4/4", "instruments": (),
        "families": (), "drums": False, "solo": True, "sound_font": "",
    }  # fmt: skip
    leads, genres, tempos = list(INSTRUMENTS), sorted({s.genre for s in STYLES}), ["slow", "moderate", "fast"]
    kept = [
        (lead, genre, tempo)
        for lead in leads
        for genre in genres
        for tempo in tempos
        if is_reserved(Truth(lead=lead, genre=genre, tempo=tempo, seed="0/0", **base))
    ]
    assert abs(len(kept) / (len(leads) * len(genres) * len(tempos)) - RESERVED) < 0.01
    for facts in ({"seed": "7/1"}, {"seed": "0/0", "drums": True}, {"seed": "0/0", "key": "Eb"}):
        again = Truth(**{"lead": kept[0][0], "genre": kept[0][1], "tempo": kept[0][2]} | base | facts)
        assert is_reserved(again)
    # Each part of a combination occurs in training, in other combinations.
    assert {lead for lead, *_ in kept} == set(leads) and {genre for _, genre, _ in kept} == set(genres)


@given(truth=truths, seed=st.integers(0, 1000))
def test_captions_say_nothing_wrong(truth: Truth, seed: int) -> None:
    lead, alone = truth.instruments[0], len(truth.instruments) == 1 and not truth.drums
    truth = Truth(**{**truth.__dict__, "lead": lead, "solo": alone})
    said = sentences(truth, random.Random(seed))
    assert 4 <= len(said) <= 5
    assert said[-1].endswith(f" at {truth.tempo_bpm} bpm.")
    assert said == sentences(truth, random.Random(seed))
    text = " ".join(said)
    for sentence in said:
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "  " not in sentence
    for wrong in (
        " a a",
        " a e",
        " a i",
        " a o",
        " a u",
        " an b",
        "A strings",
        "strings plays",
        "slow slow",
        "None",
    ):
        assert wrong not in text
    unsaid = text.replace("no drums", "").replace("without drums", "").replace("steel drums", "")
    assert ("drums" in unsaid) <= truth.drums
    assert any(word in text.lower() for word in ("solo", "alone", "single", "unaccompanied")) == alone
    assert ({"slow": "fast", "fast": "slow", "moderate": "fast"}[truth.tempo] in text) <= (
        truth.genre == "slow blues"
    )
    assert f"{'minor' if truth.mode == 'major' else 'major'}" not in text
    assert (
        not {"oboe", "tuba", "harp", "organ"} & set(text.lower().replace(",", "").split())
        or "oboe" in truth.instruments
    )
    assert truth.genre in said[0]


@given(truth=truths, seed=st.integers(0, 1000))
def test_captions_of_the_second_edition_name_no_other_fact(truth: Truth, seed: int) -> None:
    solo = len(truth.instruments) == 1 and not truth.drums
    truth = Truth(**{**truth.__dict__, "lead": truth.instruments[0], "solo": solo})
    captions = varied_sentences(truth, random.Random(seed))
    keywords, phrase, numbers = captions[-3:]
    assert keywords.startswith(truth.genre) and phrase.endswith(f"{truth.genre} {truth.lead}")
    mentioned = keywords.split(", ")[1:]
    assert set(NAMES) & set(mentioned) <= set(truth.instruments)
    assert ("drums" in mentioned) <= truth.drums and ("no drums" in mentioned) <= (not truth.drums)
    assert "100" in numbers or "one hundred" in numbers or truth.key[0] in numbers
    assert ("minor" in numbers) <= (truth.mode == "minor") and ("major" in numbers) <= (truth.mode == "major")


def test_tags_and_title() -> None:
    truth = Truth(
        "waltz",
        "slow waltz",
        70,
        "slow",
        "A",
        "minor",
        "3/4",
        ("piano",),
        "piano",
        ("piano",),
        False,
        True,
        "f",
        "0/0",
    )
    assert title(truth) == "Waltz in A minor"
    assert {"waltz", "piano", "solo piano", "slow", "70 bpm", "minor key", "no drums"} <= set(tags(truth))
    assert "drums" not in tags(truth)
