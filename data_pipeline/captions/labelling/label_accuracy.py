"""Are labels right? Of rendered music the truth is known: which instruments are heard, and the genre."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from data_pipeline.starter_corpus.instruments import NAMES, family_of
from data_pipeline.starter_corpus.styles import BANDS, CHAMBER

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
# Families that a caption's word may mean: nobody hears apart what General MIDI tells apart here.
_KIN = {"strings": {"strings", "ensemble", "folk"}, "ensemble": {"strings", "ensemble"}}
# Genres that go by other words too.
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
        family: Name an instrument of a family that is heard.
        genre: Name the genre.
        family_named: Of those that name any instrument, the share that is right.
        genre_named: Of those that name any genre, the share that is right.
        captions: How many were judged.
    """

    family: float
    genre: float
    family_named: float
    genre_named: float
    captions: int


@cache
def families_in(caption: str) -> frozenset[str]:
    """Families of the instruments that a caption names."""
    text, found = caption.lower(), set()
    for name, family in _instrument_words():
        if re.search(rf"\b{re.escape(name)}\b", text):
            found.add(family)
            # Longest names first: a "double bass drum" is a drum and no double bass.
            text = re.sub(rf"\b{re.escape(name)}\b", " ", text)
    return frozenset(found)


@cache
def genres_in(caption: str) -> frozenset[str]:
    """Genres that a caption may mean, as the truth of rendered pieces has them."""
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
    found = {}
    for genre in dict.fromkeys(style.genre for style in (*BANDS, *CHAMBER)):
        words = _GENRE_WORDS.get(genre, "").split() or [w for w in genre.split() if w not in _IDLE]
        found[genre] = tuple(dict.fromkeys([genre, *words]))
    return found


def measure_label_accuracy(labels: Iterable[tuple[dict[str, Any], Sequence[str]]]) -> LabelAccuracy | None:
    """Compare captions with the truth of their clips.

    Args:
        labels: Truth of a clip, as `Clip.truth` holds it, and its captions.

    Returns:
        Shares over all captions of clips with a truth; None where there is none.
    """
    right = named = genre_right = genre_named = total = 0
    for truth, captions in labels:
        if not {"families", "genre"} <= truth.keys():
            continue
        heard = set(truth["families"]) | ({"drums", "percussion"} if truth.get("drums") else set())
        for family in tuple(heard):
            heard |= _KIN.get(family, set())
        for caption in captions:
            families, genres = families_in(caption), genres_in(caption)
            total += 1
            named += bool(families)
            right += bool(families & heard)
            genre_named += bool(genres)
            genre_right += truth["genre"] in genres
    if not total:
        return None
    return LabelAccuracy(
        right / total, genre_right / total, right / max(1, named), genre_right / max(1, genre_named), total
    )
