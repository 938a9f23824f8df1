"""Keys and chords: Roman numerals become chord names for the accompanist and pitches for the melody."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Mode = Literal["major", "minor"]

_SHARPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLATS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_SCALES: dict[Mode, tuple[int, ...]] = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Tonics that are written with flats, as most players would.
_FLAT_KEYS: dict[Mode, frozenset[int]] = {
    "major": frozenset({1, 3, 5, 8, 10}),
    "minor": frozenset({0, 2, 3, 5, 7, 10}),
}
_NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii")
# Quality as the accompanist (MMA) spells it, with its intervals above the root.
_QUALITIES: dict[str, tuple[int, ...]] = {
    "": (0, 4, 7), "m": (0, 3, 7), "7": (0, 4, 7, 10), "m7": (0, 3, 7, 10), "M7": (0, 4, 7, 11),
    "dim": (0, 3, 6), "m7b5": (0, 3, 6, 10), "sus4": (0, 5, 7), "6": (0, 4, 7, 9), "m6": (0, 3, 7, 9),
}  # fmt: skip


@dataclass(frozen=True)
class Chord:
    """A chord: pitch class of its root, intervals above it, and its printed name."""

    root: int
    intervals: tuple[int, ...]
    name: str

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        """Pitch classes, root first."""
        return tuple((self.root + interval) % 12 for interval in self.intervals)


@dataclass(frozen=True)
class Key:
    """A tonic (pitch class, C = 0) and a mode."""

    tonic: int
    mode: Mode

    @property
    def _names(self) -> tuple[str, ...]:
        return _FLATS if self.tonic in _FLAT_KEYS[self.mode] else _SHARPS

    @property
    def name(self) -> str:
        """Tonic as written, for instance ``Eb`` or ``F#``."""
        return self._names[self.tonic]

    @property
    def scale(self) -> tuple[int, ...]:
        """Pitch classes of the major or natural minor scale, tonic first."""
        return tuple((self.tonic + step) % 12 for step in _SCALES[self.mode])

    def chord(self, numeral: str) -> Chord:
        """The chord that a Roman numeral means here, for instance ``ii7``, ``V7``, ``bVII`` or ``VIM7``.

        Numerals count the degrees of the key's own scale; lower case is a minor third. ``o`` is a
        diminished and ``h7`` a half-diminished chord.

        Raises:
            ValueError: if the numeral cannot be read.
        """
        match = re.fullmatch(r"([b#]?)([ivIV]+)(o|h7|sus4|M7|7|6)?", numeral)
        if match is None or match[2].lower() not in _NUMERALS:
            raise ValueError(f"'{numeral}' is no chord numeral")
        shift = {"": 0, "b": -1, "#": 1}[match[1]]
        root = (self.scale[_NUMERALS.index(match[2].lower())] + shift) % 12
        ending = match[3] or ""
        minor = match[2].islower()
        quality = {"o": "dim", "h7": "m7b5"}.get(ending, f"m{ending}" if minor else ending)
        return Chord(root, _QUALITIES[quality], self._names[root] + quality)

    def notes_over(self, chord: Chord) -> frozenset[int]:
        """Pitch classes that a melody may use over a chord.

        It is the scale, where a foreign chord tone (the leading note of a minor key, the seventh of
        a blues chord) replaces the scale notes a semitone beside it.
        """
        tones = set(chord.pitch_classes)
        beside = {(tone + step) % 12 for tone in tones - set(self.scale) for step in (-1, 1)}
        return frozenset((set(self.scale) - (beside - tones)) | tones)


def progression(key: Key, numerals: str, bars: int) -> list[tuple[Chord, ...]]:
    """Chords of each bar, the progression going round: ``"I vi ii7,V7"`` is three bars, the last with two."""
    cycle = [tuple(key.chord(numeral) for numeral in bar.split(",")) for bar in numerals.split()]
    return [cycle[bar % len(cycle)] for bar in range(bars)]


def new_progression(examples: Sequence[str], chosen: str, rng: random.Random) -> str:
    """A progression in the manner of others: every change of chords occurs in one of them.

    It begins as ``chosen`` does and has its length, so that a blues keeps twelve bars and its tonic. The
    last bar leads back to the first by a change that occurs, too.

    Args:
        examples: Progressions of one character and mode.
        chosen: The one to vary.
        rng: Source of the choices.

    Returns:
        Numerals; ``chosen`` itself if no other was drawn in a hundred tries.
    """
    followers: dict[str, list[str]] = {}
    for example in examples:
        bars = example.split()
        for bar, following in zip(bars, [*bars[1:], bars[0]], strict=True):
            followers.setdefault(bar, []).append(following)
    first, *others = chosen.split()
    for _ in range(100):
        walk = [first]
        for _ in others:
            walk.append(rng.choice(followers[walk[-1]]))
        # A progression of a single chord has no key.
        if first in followers[walk[-1]] and len(set(walk)) > 2:
            return " ".join(walk)
    return chosen
