"""Attributes that a prompt requests and that can be measured: parsed from its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_n2m.conditioning.numbers import FASTEST, SLOWEST, parse_key
from lightning_n2m.data.instruments import family_by_name
from lightning_n2m.data.number_words import number_words

# Words that people use beside the General MIDI names of instruments, by family.
_MORE_WORDS = {
    "piano": ("pianos",),
    "guitar": ("guitar", "guitars"),
    "bass": ("bass",),
    "ensemble": ("string section",),
    "brass": ("brass",),
    "woodwind": ("saxophone", "sax"),
    "synth": ("synth", "synthesizer"),
}
_FAMILY_OF = family_by_name() | {word: family for family, words in _MORE_WORDS.items() for word in words}
# Longer names first: a "double bass" is not only a "bass".
_INSTRUMENT = re.compile(rf"\b({'|'.join(sorted(_FAMILY_OF, key=len, reverse=True))})\b")
_IN_WORDS = {number_words(number): number for number in range(int(SLOWEST), int(FASTEST) + 1)}
_NUMBER = rf"\d{{2,3}}|{'|'.join(sorted(_IN_WORDS, key=len, reverse=True))}"
_TEMPO = re.compile(
    rf"\b(?:({_NUMBER})[ -]?(?:bpm|beats (?:a|per) minute)|(?:bpm|tempo)(?: of|:| is)? ({_NUMBER}))\b"
)
_KEY = re.compile(r"\b([A-G](?:#|b|♯|♭| sharp| flat|-sharp|-flat)?[ -](?:major|minor))\b")
# A symbol such as Am or F# is a key after "in" or "key of", or between two commas. At the beginning of a
# prompt a letter alone is not.
_SYMBOL = re.compile(
    r"(?:\b(?:in|key of|key:?) |, |^(?=[A-G](?:[#b♯♭]m?|m)))([A-G][#b♯♭]?m?)(?=[,.;]|$| at\b)"
)
_NO_DRUMS = re.compile(r"\b(?:no drums|without (?:any )?drums|drumless|unaccompanied|solo|alone|a single)\b")
_DRUMS = re.compile(r"\b(?:drums?|drum kit)\b")


@dataclass(frozen=True)
class PromptAttributes:
    """Attributes that a prompt requests; none or empty where it says nothing.

    Args:
        families: Families of the instruments that it names.
        drums: Whether drums are requested (true) or excluded (false).
        tempo: Beats per minute.
        key: Tonic and mode.
        genre: The longest genre name in it.
    """

    families: frozenset[str] = frozenset()
    drums: bool | None = None
    tempo: float | None = None
    key: tuple[str, str] | None = None
    genre: str | None = None

    @property
    def count(self) -> int:
        """Number of requested attributes."""
        return len(self.families) + sum(x is not None for x in (self.drums, self.tempo, self.key, self.genre))


def parse_prompt(prompt: str, genres: Sequence[str] = ()) -> PromptAttributes:
    """Parse a prompt.

    Args:
        prompt: Free text.
        genres: Genre names to search for.
    """
    text = prompt.lower()
    names = {match.group(1) for match in _INSTRUMENT.finditer(text)}
    key = _KEY.search(prompt) or _SYMBOL.search(prompt)
    # Steel drums are percussion, not a drum kit.
    drums: bool | None = None
    if _NO_DRUMS.search(text):
        drums = False
    elif _DRUMS.search(re.sub(r"\bsteel drums\b", "", text)):
        drums = True
    genre = next(
        (
            name
            for name in sorted(genres, key=len, reverse=True)
            if re.search(rf"\b{re.escape(name)}\b", text)
        ),
        None,
    )
    return PromptAttributes(
        frozenset(_FAMILY_OF[name] for name in names),
        drums,
        _tempo(text),
        parse_key(key[1]) if key else None,
        genre,
    )


def _tempo(text: str) -> float | None:
    """Beats per minute that a text in lower case names; those out of range are not a tempo."""
    match = _TEMPO.search(text)
    if match is None:
        return None
    number = match[1] or match[2]
    tempo = float(_IN_WORDS.get(number) or number)
    return tempo if SLOWEST <= tempo <= FASTEST else None
