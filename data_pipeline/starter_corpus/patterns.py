"""Accompaniment that an instrument plays for itself: left-hand figures, written as data."""

from __future__ import annotations

import random

from data_pipeline.starter_corpus.melody import Bar, Metre, Note

# Figures of one bar, taken by turns, and their metre. A figure is a row of "what:beat:length", in
# beats. What: R root, F fifth below the chord, C the chord, or a number n: the n-th chord note
# upwards from the root. Or it is such numbers alone, at even distances ("012321").
FIGURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "oom-pah-pah": ("3/4", ("R:0:0.9 C:1:0.5 C:2:0.5", "F:0:0.9 C:1:0.5 C:2:0.5")),
    "flowing waltz": ("3/4", ("012321",)),
    "slow waltz": ("3/4", ("R:0:2.8 C:1:1.8",)),
    "stride": ("4/4", ("R:0:0.8 C:1:0.5 F:2:0.8 C:3:0.5",)),
    "alberti": ("4/4", ("02120212",)),
    "arpeggio": ("4/4", ("01234321",)),
    "fingerpicking": ("4/4", ("R:0:1.9 3:0.5:1 2:1:1.9 4:1.5:1 F:2:1.9 3:2.5:1 2:3:1 4:3.5:1",)),
    "block": ("4/4", ("R:0:1.95 C:0:1.95 R:2:1.95 C:2:1.95",)),
    "sustained": ("4/4", ("R:0:3.95 C:0:3.95",)),
    "ballad": ("4/4", ("R:0:1.9 C:1:0.9 F:2:1.9 C:3:0.9",)),
    "habanera": ("4/4", ("R:0:1.4 C:1.5:0.5 C:2:0.9 F:3:0.9",)),
    "march": ("4/4", ("R:0:0.5 C:1:0.4 F:2:0.5 C:3:0.4",)),
    "boogie": ("4/4", ("0:0:0.5 0:0.5:0.5 1:1:0.5 1:1.5:0.5 2:2:0.5 2:2.5:0.5 1:3:0.5 1:3.5:0.5",)),
    "jig": ("6/8", ("R:0:0.6 C:0.667:0.3 F:1:0.6 C:1.667:0.3",)),
    "rocking": ("6/8", ("012321",)),
    "nocturne": ("12/8", ("012343012343",)),
}


def _parse(figure: str, metre: Metre) -> list[tuple[str, float, float]]:
    """What, beat and length of each stroke of a figure."""
    if ":" not in figure:
        each = metre.beats / len(figure)
        return [(what, number * each, each * 1.6) for number, what in enumerate(figure)]
    return [
        (what, float(beat), float(length))
        for what, beat, length in (stroke.split(":") for stroke in figure.split())
    ]


def accompany(name: str, bars: list[Bar], metre: Metre, low: int, rng: random.Random) -> list[Note]:
    """Play a figure over the chords.

    Args:
        name: A key of `FIGURES`, whose metre must be the piece's.
        bars: Chords of each bar.
        metre: Time signature.
        low: MIDI pitch below which the figure does not go.
        rng: Source of the small differences in touch.

    Returns:
        Notes in order of bars.

    Raises:
        ValueError: if the figure is of another metre.
    """
    written, figures = FIGURES[name]
    if written != metre.name:
        raise ValueError(f"the figure '{name}' is in {written}, not in {metre.name}")
    strokes = [_parse(figure, metre) for figure in figures]
    notes = []
    for index, chords in enumerate(bars):
        for what, beat, length in strokes[index % len(strokes)]:
            chord = chords[int(beat / metre.beats * len(chords))]
            root, middle = low + (chord.root - low) % 12, low + 12
            if what == "R":
                pitches = [root]
            elif what == "F":
                fifth = root + chord.intervals[2]
                pitches = [fifth - 12 if fifth - 12 >= low else fifth]
            elif what == "C":
                pitches = [middle + (pitch_class - middle) % 12 for pitch_class in chord.pitch_classes]
            else:
                octave, step = divmod(int(what), len(chord.intervals))
                pitches = [root + 12 * octave + chord.intervals[step]]
            notes += [
                Note(index * metre.beats + beat, length, pitch, rng.randint(58, 68)) for pitch in pitches
            ]
    return notes
