"""Composition of a melody over chords: phrases that return, chord notes on strong beats, steps between."""

from __future__ import annotations

import random
from dataclasses import dataclass

from data_pipeline.starter_corpus.harmony import Chord, Key

Bar = tuple[Chord, ...]


@dataclass(frozen=True)
class Metre:
    """A time signature.

    Args:
        name: As written, for instance ``3/4``.
        beats: Beats per bar; the tempo counts these.
        division: Equal parts of a beat: 2, or 3 in compound time.
    """

    name: str
    beats: int
    division: int = 2


METRES = {
    m.name: m
    for m in (Metre("4/4", 4), Metre("3/4", 3), Metre("5/4", 5), Metre("6/8", 2, 3), Metre("12/8", 4, 3))
}
_FORMS = ("AABA", "ABAC", "AABB", "ABAB", "AABC")
_MORE_FORMS = (*_FORMS, "ABCA", "ABBA", "ABCB", "AAAB", "ABBC")
# Share of rising steps in the first and in the second half of a phrase.
_CONTOURS = {"arch": (0.65, 0.35), "valley": (0.35, 0.65), "rising": (0.6, 0.55), "falling": (0.45, 0.4)}
_STEPS = (0.6, 5, 2, 0.7, 0.4)  # weights of repeated notes, steps, and leaps of two to four scale notes


@dataclass(frozen=True)
class Manner:
    """How melodies are written; the defaults are those of the first edition.

    Args:
        contour: Direction of a phrase: ``arch``, ``valley``, ``rising`` or ``falling``.
        offbeat: Factor of the probability of notes between the beats.
        leaps: Factor of the weights of leaps.
        repeats: Factor of the weight of repeated notes.
        staccato: Probability that a note is shorter than the time to the next one.
        form: Order of phrases; drawn from the five forms of the first edition if empty.
    """

    contour: str = "arch"
    offbeat: float = 1.0
    leaps: float = 1.0
    repeats: float = 1.0
    staccato: float = 0.0
    form: str = ""


FIRST_EDITION = Manner()


def draw_manner(rng: random.Random) -> Manner:
    """A manner of the second edition."""
    return Manner(
        contour=rng.choice(sorted(_CONTOURS)),
        offbeat=rng.uniform(0.5, 1.6),
        leaps=rng.uniform(0.4, 2.5),
        repeats=rng.uniform(0.5, 4.0),
        staccato=rng.choice((0.0, 0.0, 0.3, 0.7)),
        form=rng.choice(_MORE_FORMS),
    )


@dataclass(frozen=True)
class Note:
    """A note: start and length in beats from the beginning of the piece, MIDI pitch and velocity."""

    start: float
    length: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class _Phrase:
    """Four bars of rhythm (start and length in the bar), and a step of the scale for each note."""

    rhythm: tuple[tuple[tuple[float, float], ...], ...]
    steps: tuple[int, ...]
    entry: int


def _rhythm(
    metre: Metre, density: float, rng: random.Random, manner: Manner
) -> tuple[tuple[float, float], ...]:
    """One bar: beats are likely starts of notes, places between them in the measure of the density."""
    starts = []
    for slot in range(metre.beats * metre.division):
        if slot == 0:
            chance = 0.95
        elif slot % metre.division == 0:
            chance = 0.25 + 0.65 * density
        else:
            chance = manner.offbeat * (0.6 if metre.division == 2 else 0.55) * density
        if rng.random() < chance:
            starts.append(slot / metre.division)
    starts = starts or [0.0]
    ends = [*starts[1:], float(metre.beats)]
    return tuple(
        (start, (end - start) * _length(rng, manner)) for start, end in zip(starts, ends, strict=True)
    )


def _length(rng: random.Random, manner: Manner) -> float:
    """Length of a note as a share of the time to the next one."""
    if manner.staccato and rng.random() < manner.staccato:
        return 0.45
    return rng.choice((1.0, 1.0, 0.8))


def _phrase(metre: Metre, density: float, rng: random.Random, manner: Manner) -> _Phrase:
    first, second = _rhythm(metre, density, rng, manner), _rhythm(metre, density, rng, manner)
    close: tuple[tuple[float, float], ...] = ((0.0, metre.beats - 0.5),)
    if rng.random() < 0.5:
        close = ((0.0, 1.0), (1.0, metre.beats - 1.5))
    rhythm = (first, second, first, close)
    notes = sum(map(len, rhythm))
    repeat, step, *leaps = _STEPS
    weights = (repeat * manner.repeats, step, *(weight * manner.leaps for weight in leaps))
    steps = []
    for number in range(notes):
        # Most songs rise in the first half of a phrase and fall in the second.
        rising = rng.random() < _CONTOURS[manner.contour][0 if number < notes / 2 else 1]
        size = rng.choices((0, 1, 2, 3, 4), weights)[0]
        steps.append(size if rising else -size)
    return _Phrase(rhythm, tuple(steps), rng.randint(-3, 4))


def _nearest(target: float, allowed: frozenset[int] | set[int], low: int, high: int) -> int:
    candidates = [pitch for pitch in range(low, high + 1) if pitch % 12 in allowed]
    return min(candidates, key=lambda pitch: (abs(pitch - target), pitch))


def compose(
    key: Key,
    bars: list[Bar],
    metre: Metre,
    density: float,
    low: int,
    high: int,
    rng: random.Random,
    rest: int = 0,
    manner: Manner = FIRST_EDITION,
) -> list[Note]:
    """Write a melody.

    Args:
        key: Key of the piece.
        bars: Chords of each bar; several chords share a bar evenly.
        metre: Time signature.
        density: From 0 (a note a bar) to 1 (every subdivision).
        low: Lowest MIDI pitch allowed.
        high: Highest MIDI pitch allowed.
        rng: Source of every choice.
        rest: Bars to wait before the first note.
        manner: Contour, rhythm and form.

    Returns:
        Notes in order, one at a time.
    """
    phrases = {letter: _phrase(metre, density, rng, manner) for letter in "ABC"}
    form = manner.form or rng.choice(_FORMS)
    centre = (low + high) / 2
    pitch = round(centre)
    notes: list[Note] = []
    for index in range(rest, len(bars)):
        position = index - rest
        phrase = phrases[form[position // 4 % len(form)]]
        bar = position % 4
        offset = sum(map(len, phrase.rhythm[:bar]))
        if bar == 0:
            pitch = _nearest(centre + phrase.entry, set(bars[index][0].pitch_classes), low, high)
        for number, (start, length) in enumerate(phrase.rhythm[bar]):
            chord = bars[index][int(start / metre.beats * len(bars[index]))]
            step = phrase.steps[offset + number]
            # Two semitones a step, roughly; a melody at the end of its range turns back.
            target = pitch + 1.8 * step
            if not low <= target <= high:
                target = pitch - 1.8 * step
            strong = start in (0.0, metre.beats / 2) or length >= 1.5
            previous = pitch
            pitch = _nearest(target, set(chord.pitch_classes) if strong else key.notes_over(chord), low, high)
            if bar == 3 and number == len(phrase.rhythm[3]) - 1:
                pitch = _nearest(previous, {chord.root}, low, high)
            velocity = 86 + (10 if strong else 0) + rng.randint(-6, 6)
            notes.append(Note(index * metre.beats + start, length, pitch, velocity))
    return notes
