"""Melodies keep the rules of composition."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.starter_corpus.harmony import Key, progression
from data_pipeline.starter_corpus.instruments import INSTRUMENTS
from data_pipeline.starter_corpus.melody import FIRST_EDITION, METRES, Manner, Note, compose, draw_manner
from tests.data_pipeline.starter_corpus.common import KEYS, STYLES


@given(
    seed=st.integers(0, 10**6),
    style=st.sampled_from(STYLES),
    key=st.sampled_from(KEYS),
    edition=st.sampled_from([1, 2]),
)
def test_melodies_keep_the_rules(seed, style, key, edition) -> None:  # type: ignore[no-untyped-def]
    manner = FIRST_EDITION if edition == 1 else draw_manner(random.Random(seed))
    rng, metre = random.Random(seed), METRES[style.metre]
    lead = INSTRUMENTS[rng.choice(style.leads)]
    numerals = rng.choice(style.major if key.mode == "major" else style.minor)
    bars = progression(key, numerals, 20)
    notes = compose(key, bars, metre, style.density, lead.low, lead.high, rng, manner=manner)
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


def test_manners_differ_as_they_say() -> None:
    key, metre = Key(0, "major"), METRES["4/4"]

    def melodies(manner: Manner) -> list[list[Note]]:
        bars = progression(key, "I vi IV V", 16)
        return [
            compose(key, bars, metre, 0.4, 60, 84, random.Random(seed), manner=manner) for seed in range(30)
        ]

    def off_beats(manner: Manner) -> int:
        return sum(note.start % 1 != 0 for notes in melodies(manner) for note in notes)

    def leaps(manner: Manner) -> int:
        return sum(
            abs(two.pitch - one.pitch) > 4 for notes in melodies(manner) for one, two in pairwise(notes)
        )

    assert off_beats(Manner(offbeat=1.5)) > 1.3 * off_beats(Manner(offbeat=0.6))
    assert leaps(Manner(leaps=2.5)) > 1.2 * leaps(Manner(leaps=0.4))
    short, long = melodies(Manner(staccato=1.0)), melodies(Manner())
    assert sum(n.length for notes in short for n in notes) < 0.7 * sum(
        n.length for notes in long for n in notes
    )
    # A valley falls in the first half of its phrases, an arch rises.
    middle = {
        contour: sum(
            notes[len(notes) // 8].pitch - notes[0].pitch for notes in melodies(Manner(contour=contour))
        )
        for contour in ("arch", "valley")
    }
    assert middle["arch"] > middle["valley"]
    assert len({draw_manner(random.Random(seed)).form for seed in range(200)}) == 10
