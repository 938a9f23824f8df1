"""Accuracy of labels on rendered music, whose instruments and genre are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from data_pipeline.starter_corpus.styles import BANDS, CHAMBER
from lightning_n2m.data.instruments import NAMES, family_of

# Words for instruments beyond the names of General MIDI, by family.
_MORE = {
    "guitar": "guitar guitars guitarist guitar's",
    "bass": "bass bassline",
    "percussion": "percussion percussive bongo bongos conga congas",
    "drums": "drum drums drumming snare cymbal cymbals",
    "synth": "synth synths synthesizer synthesizers synthesiser pad pads",
    "brass": "brass horn horns",
    "woodwind": "saxophone saxophones sax woodwind woodwinds",
    "strings": "violins cellos orchestra orchestral string",
    "ensemble": "strings string choral voices orchestra orchestral",
    "piano": "pianos keyboard keyboards keys",
    "organ": "organs accordions",
    "folk": "bagpipes banjos fiddle",
    "mallets": "bells glockenspiels",
}
# Families that a caption's word may also mean: General MIDI separates instruments of nearly the same sound.
_KIN = {"strings": {"strings", "ensemble", "folk"}, "ensemble": {"strings", "ensemble"}}
# Further words for a genre.
_GENRE_WORDS = {
    "swing jazz": "jazz swing",
    "jazz waltz": "jazz waltz",
    "country waltz": "country waltz",
    "heavy metal": "metal",
    "hip hop": "hip-hop rap",
    "bossa nova": "bossa",
    "boogie-woogie": "boogie boogie-woogie",
    "slow blues": "blues bluesy",
    "blues": "blues bluesy",
    "soul": "soul soulful",
    "funk": "funk funky",
    "jazz": "jazz jazzy",
    "trance": "trance",
    "techno": "techno",
    "house": "house",
}
_IDLE = frozenset({"slow", "fast", "music", "new", "age", "cha", "hip", "hop", "nova", "big", "band"})


@dataclass(frozen=True)
class LabelAccuracy:
    """Shares of captions, between 0 and 1.

    Args:
        family: Captions that name an instrument of a family in the clip.
        genre: Captions that name the clip's genre.
        family_named: The same share of those captions that name any instrument.
        genre_named: The same share of those captions that name any genre.
        captions: Number of captions.
    """

    family: float
    genre: float
    family_named: float
    genre_named: float
    captions: int


@cache
def families_in(caption: str) -> frozenset[str]:
    """Families of the instruments that a caption names."""
    text = caption.lower()
    families = set()
    for name, family in _instrument_words():
        if re.search(rf"\b{re.escape(name)}\b", text):
            families.add(family)
            # Longest names first: a "double bass drum" is a drum and no double bass.
            text = re.sub(rf"\b{re.escape(name)}\b", " ", text)
    return frozenset(families)


@cache
def genres_in(caption: str) -> frozenset[str]:
    """Genres that a caption may mean, by the names of the starter corpus."""
    text = caption.lower()
    return frozenset(
        genre
        for genre, words in _genre_words().items()
        if any(re.search(rf"\b{re.escape(word)}\b", text) for word in words)
    )


@cache
def _instrument_words() -> list[tuple[str, str]]:
    words = {name: family_of(program) for program, name in reversed(list(enumerate(NAMES)))}
    for family, more in _MORE.items():
        words.update({word: family for word in more.split()})
    drums = ("bass drum", "bass drums", "bass drumming", "drum machine")
    words |= {f"{prefix}{name}": "drums" for name in drums for prefix in ("", "double ")}
    return sorted(words.items(), key=lambda item: -len(item[0]))


@cache
def _genre_words() -> dict[str, tuple[str, ...]]:
    words_by_genre = {}
    for genre in dict.fromkeys(style.genre for style in (*BANDS, *CHAMBER)):
        words = _GENRE_WORDS.get(genre, "").split() or [w for w in genre.split() if w not in _IDLE]
        words_by_genre[genre] = tuple(dict.fromkeys([genre, *words]))
    return words_by_genre


def measure_label_accuracy(labels: Iterable[tuple[dict[str, Any], Sequence[str]]]) -> LabelAccuracy | None:
    """Compare captions with the ground truth of their clips.

    Args:
        labels: Ground truth of a clip, as `Clip.truth` holds it, and its captions.

    Returns:
        Shares over all captions of clips with a ground truth; None if no clip has one.
    """
    right = named = genre_right = genre_named = total = 0
    for truth, captions in labels:
        if not {"families", "genre"} <= truth.keys() or not isinstance(truth["families"], list | tuple):
            continue
        present = set(map(str, truth["families"]))
        if truth.get("drums"):
            present |= {"drums", "percussion"}
        for family in tuple(present):
            present |= _KIN.get(family, set())
        for caption in captions:
            families, genres = families_in(caption), genres_in(caption)
            total += 1
            named += bool(families)
            right += bool(families & present)
            genre_named += bool(genres)
            genre_right += str(truth["genre"]) in genres
    if not total:
        return None
    return LabelAccuracy(
        right / total, genre_right / total, right / max(1, named), genre_right / max(1, genre_named), total
    )
