"""Chords and scales equal those of a textbook."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from data_pipeline.starter_corpus.harmony import Key, new_progression, progression


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


def test_new_progressions_change_chords_only_as_the_examples_do() -> None:
    examples = ["I V vi IV", "I vi IV V", "vi IV I V", "I IV vi V"]
    cycles = [[*example.split(), example.split()[0]] for example in examples]
    changes = {pair for cycle in cycles for pair in pairwise(cycle)}
    found = set()
    for seed in range(200):
        chosen = examples[seed % 4]
        numerals = new_progression(examples, chosen, random.Random(seed)).split()
        assert numerals[0] == chosen.split()[0] and len(numerals) == 4 and len(set(numerals)) > 2
        assert set(pairwise([*numerals, numerals[0]])) <= changes
        found.add(tuple(numerals))
    assert len(found) > 2 * len(examples)
    # Nothing can be varied where every change of chords has one continuation.
    assert new_progression(["i V i V"], "i V i V", random.Random(0)) == "i V i V"
