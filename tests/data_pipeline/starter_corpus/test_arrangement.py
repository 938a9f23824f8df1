"""Plans of pieces, and pieces that equal their description."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

from data_pipeline.starter_corpus.arrangement import arrange, plan
from data_pipeline.starter_corpus.description import (
    tempo_word,
)
from data_pipeline.starter_corpus.events import DRUMS
from data_pipeline.starter_corpus.melody import FIRST_EDITION
from data_pipeline.starter_corpus.mma import Accompanist
from data_pipeline.starter_corpus.sounds import fonts, kits, loops
from data_pipeline.starter_corpus.synthesizer import Synthesizer
from tests.data_pipeline.starter_corpus.common import KEYS


def test_plans_do_not_depend_on_how_many_there_are_and_cover_the_ground() -> None:
    plans = [plan(0, number) for number in range(600)]
    assert plans[17] == plan(0, 17)
    assert plan(1, 17) != plan(0, 17)
    assert len({chosen.style.genre for chosen in plans}) >= 40
    assert len({chosen.lead.name for chosen in plans}) >= 35
    assert {(chosen.key.tonic, chosen.key.mode) for chosen in plans} == {
        (key.tonic, key.mode) for key in KEYS
    }
    assert Counter(chosen.kind for chosen in plans).keys() == {"band", "solo", "duo"}
    assert {tempo_word(chosen.tempo) for chosen in plans} == {"slow", "moderate", "fast"}
    assert {chosen.sound_font for chosen in plans} == {"FluidR3_GM", "MuseScore_General_Lite"}


def test_the_second_edition_has_more_of_everything_and_the_first_stays_as_it_is() -> None:
    first, second = ([plan(0, number, edition) for number in range(2000)] for edition in (1, 2))
    assert {chosen.sound_font for chosen in second} == set(fonts(2)) > {chosen.sound_font for chosen in first}
    assert {chosen.drum_kit for chosen in second} == {"", *kits(2)}
    assert {chosen.drum_loop for chosen in second} == {"", *loops()}
    assert {(chosen.drum_kit, chosen.drum_loop) for chosen in first} == {("", "")}
    assert not any(chosen.drum_kit and chosen.drum_loop for chosen in second)
    assert all(chosen.drums for chosen in second if chosen.drum_kit or chosen.drum_loop)
    assert min(chosen.tempo for chosen in second) < min(chosen.tempo for chosen in first)
    assert max(chosen.tempo for chosen in second) > max(chosen.tempo for chosen in first)
    # The weights in pretrained/ were trained on these pieces.
    digest = hashlib.sha256(
        repr(
            [(p.seed, p.tempo, p.key, p.sound_font, p.numerals, p.drums, p.groove, p.lead) for p in first]
        ).encode()
    ).hexdigest()
    assert digest[:16] == "726b50921caaf179"


def test_the_second_edition_varies_keys_tempi_and_melodies_widely() -> None:
    first, second = ([plan(0, number, edition) for number in range(1500)] for edition in (1, 2))
    keys = Counter((chosen.key.tonic, chosen.key.mode) for chosen in second)
    assert len(keys) == 24 and max(keys.values()) < 2 * min(keys.values())
    bands = Counter(chosen.tempo // 10 for chosen in second)
    assert all(bands[band] >= 0.01 * len(second) for band in range(5, 20))
    assert len({chosen.numerals for chosen in second}) > 5 * len({chosen.numerals for chosen in first})
    assert len({chosen.manner for chosen in second}) == len(second)
    assert {chosen.manner for chosen in first} == {FIRST_EDITION}
    # Styles of a narrow range of tempi no longer imply it.
    for genre in ("house", "trance", "techno", "cha-cha"):
        tempi = [chosen.tempo for chosen in second if chosen.style.genre == genre]
        assert max(tempi) > 1.3 * min(tempi)


def test_a_piece_sounds_as_its_truth_says(accompanist: Accompanist, synthesizer: Synthesizer) -> None:
    for number in range(12):
        chosen = plan(3, number)
        piece = arrange(chosen, accompanist)
        assert bool(piece.drums) == piece.truth.drums
        assert all(event.channel == DRUMS for event in piece.drums)
        assert all(event.channel != DRUMS for event in piece.rest)
        lead = synthesizer.render(piece.lead, chosen.sound_font, 4.0)
        assert np.abs(lead).max() > 1e-3
