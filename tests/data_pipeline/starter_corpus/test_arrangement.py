"""What is composed keeps the rules, and what is said of it is true."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.starter_corpus.arrangement import plan
from data_pipeline.starter_corpus.description import (
    RESERVED,
    Truth,
    is_reserved,
    number_words,
    sentences,
    tags,
    tempo_word,
    title,
    varied_sentences,
)
from data_pipeline.starter_corpus.events import perform, programs
from data_pipeline.starter_corpus.harmony import Key, progression
from data_pipeline.starter_corpus.instruments import INSTRUMENTS
from data_pipeline.starter_corpus.melody import METRES, Note, compose
from data_pipeline.starter_corpus.patterns import FIGURES, accompany
from data_pipeline.starter_corpus.sounds import fonts, kits, loops
from data_pipeline.starter_corpus.splits import split
from data_pipeline.starter_corpus.styles import ACCOMPANISTS, BANDS, CHAMBER
from lightning_n2m.data.instruments import NAMES, family_of

KEYS = [Key(tonic, mode) for tonic in range(12) for mode in ("major", "minor")]  # type: ignore[arg-type]
STYLES = [*BANDS, *CHAMBER]


@pytest.mark.parametrize(
    ("key", "numerals", "names"),
    [
        (Key(0, "major"), "I vi ii7 V7 bVII", "C Am Dm7 G7 Bb"),
        (Key(3, "major"), "ii7 V7 IM7 IVM7", "Fm7 Bb7 EbM7 AbM7"),
        (Key(9, "minor"), "i iv V7 VI III VII iih7", "Am Dm E7 F C G Bm7b5"),
        (Key(6, "minor"), "i VIM7 V7", "F#m DM7 C#7"),
    ],
)
def test_numerals_are_the_chords_of_the_textbook(key: Key, numerals: str, names: str) -> None:
    chords = [chord.name for (chord,) in progression(key, numerals, len(numerals.split()))]
    # A flat that a sharp key borrows is written with the key's own names.
    assert [name.replace("A#", "Bb") for name in chords] == names.split()


def test_chords_hold_the_right_notes() -> None:
    assert Key(9, "minor").chord("V7").pitch_classes == (4, 8, 11, 2)
    assert Key(0, "major").chord("vii" + "o").pitch_classes == (11, 2, 5)
    with pytest.raises(ValueError, match="no chord numeral"):
        Key(0, "major").chord("VIII")


def test_the_leading_note_replaces_the_seventh_over_a_dominant() -> None:
    key = Key(9, "minor")
    assert 8 in key.notes_over(key.chord("V7"))
    assert 7 not in key.notes_over(key.chord("V7"))
    assert 7 in key.notes_over(key.chord("i"))


@pytest.mark.parametrize("style", STYLES, ids=lambda style: f"{style.genre} {style.metre}")
def test_styles_name_only_what_there_is(style) -> None:  # type: ignore[no-untyped-def]
    assert bool(style.grooves) != bool(style.figures)
    assert set(style.leads) <= set(INSTRUMENTS)
    assert {FIGURES[figure][0] for figure in style.figures} <= {style.metre}
    assert 60 <= style.tempo[0] <= style.tempo[1] <= 180
    for key in KEYS:
        for numerals in style.major if key.mode == "major" else style.minor:
            bars = progression(key, numerals, 16)
            assert all(len(bar) in (1, 2) for bar in bars)


def test_instruments_are_general_midi() -> None:
    assert len(NAMES) == 128
    assert (NAMES[40], NAMES[73], NAMES[114], family_of(56)) == ("violin", "flute", "steel drums", "brass")
    assert set(ACCOMPANISTS) <= set(INSTRUMENTS)


@given(seed=st.integers(0, 10**6), style=st.sampled_from(STYLES), key=st.sampled_from(KEYS))
def test_melodies_keep_the_rules(seed, style, key) -> None:  # type: ignore[no-untyped-def]
    rng, metre = random.Random(seed), METRES[style.metre]
    lead = INSTRUMENTS[rng.choice(style.leads)]
    numerals = rng.choice(style.major if key.mode == "major" else style.minor)
    bars = progression(key, numerals, 20)
    notes = compose(key, bars, metre, style.density, lead.low, lead.high, rng)
    assert all(lead.low <= note.pitch <= lead.high and 1 <= note.velocity <= 127 for note in notes)
    assert all(one.start + one.length <= two.start + 1e-9 for one, two in pairwise(notes))
    assert notes[0].start < metre.beats
    assert notes[-1].start < 20 * metre.beats
    for note in notes:
        index, beat = divmod(note.start + 1e-9, metre.beats)
        chords = bars[int(index)]
        chord = chords[int(beat / metre.beats * len(chords))]
        assert note.pitch % 12 in key.notes_over(chord)
        if beat < 1e-6:
            assert note.pitch % 12 in chord.pitch_classes
    # A phrase ends at rest, on the root.
    last = [note for note in notes if 12 * metre.beats <= note.start < 16 * metre.beats][-1]
    assert last.pitch % 12 == bars[15][-1].root


def test_phrases_return() -> None:
    key, metre = Key(0, "major"), METRES["4/4"]
    returns = 0
    for seed in range(20):
        notes = compose(key, progression(key, "I vi IV V", 16), metre, 0.5, 60, 84, random.Random(seed))
        rhythms = [
            tuple(note.start - 16 * phrase for note in notes if 16 * phrase <= note.start < 16 * phrase + 16)
            for phrase in range(4)
        ]
        returns += len(set(rhythms)) < 4
    assert returns == 20


@pytest.mark.parametrize("name", FIGURES)
def test_figures_play_the_chords(name: str) -> None:
    metre, key = METRES[FIGURES[name][0]], Key(2, "minor")
    bars = progression(key, "i iv V7 i", 8)
    notes = accompany(name, bars, metre, 40, random.Random(0))
    assert {int(note.start // metre.beats) for note in notes} == set(range(8))
    for note in notes:
        assert 40 <= note.pitch < 40 + 48
        assert note.pitch % 12 in bars[int((note.start + 1e-9) // metre.beats)][0].pitch_classes
    with pytest.raises(ValueError, match="is in"):
        accompany(name, bars, METRES["5/4"], 40, random.Random(0))


def test_swing_delays_only_what_is_between_beats() -> None:
    notes = [Note(0.0, 0.5, 60, 90), Note(0.5, 0.5, 62, 90), Note(1.0, 1.0, 64, 90)]
    starts = [event.time for event in perform(notes, 0, 0, 60, swing=2 / 3) if event.kind == "on"]
    assert starts == pytest.approx([0.0, 2 / 3, 1.0], abs=1e-5)
    assert programs(perform(notes, 0, 73, 60), until=10) == [73]
    assert programs(perform(notes, 0, 73, 60), until=0) == []


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


def test_pieces_keep_their_split_whatever_their_bytes() -> None:
    """Listed ones as they are listed, others in the shares that every track is split in."""
    base = {
        "groove": "", "tempo_bpm": 100, "tempo": "slow", "key": "A", "mode": "major", "metre": "4/4",
        "instruments": (), "families": (), "drums": False, "solo": True, "sound_font": "",
    }  # fmt: skip
    free, apart = (
        next((lead, genre) for lead in INSTRUMENTS for genre in ("waltz", "ska", "jig")
             if is_reserved(Truth(lead=lead, genre=genre, seed="0/0", **base)) == wanted)
        for wanted in (False, True)
    )  # fmt: skip

    def split_of(seed: str, kind: tuple[str, str] = free) -> str:
        return split(Truth(lead=kind[0], genre=kind[1], seed=seed, **base))

    assert [split_of(f"0/{n}") for n in (9, 10, 31, 1585, 1593)] == [
        "train",
        "validation",
        "test",
        "test",
        "validation",
    ]
    assert {split_of(f"{seed}/5", apart) for seed in range(20)} == {"test"}
    for pieces in ([f"0/{n}" for n in range(1600)], [f"7/{n}" for n in range(1600)]):
        shares = Counter(map(split_of, pieces))
        assert 0.03 < shares["validation"] / 1600 < 0.07 and 0.03 < shares["test"] / 1600 < 0.07


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
