"""What a caption says about a piece whose facts are known: sentences and tags, varied but never wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_n2m.data.number_words import number_words


@dataclass(frozen=True)
class Truth:
    """Facts of a rendered piece.

    Args:
        genre: Style, as in captions.
        groove: MMA groove or accompaniment figure.
        tempo_bpm: Beats a minute.
        tempo: ``slow``, ``moderate`` or ``fast``.
        key: Tonic as written, for instance ``Eb``.
        mode: ``major`` or ``minor``.
        metre: Time signature.
        instruments: All instruments that sound, without the drums, the lead first.
        lead: Instrument of the melody.
        families: Their families, sorted.
        drums: Whether there are drums.
        solo: Whether one instrument plays alone.
        sound_font: Sound font that it was rendered with.
        seed: Edition (from the second on), seed and number of the piece, which determine it.
        drum_kit: Recorded drum kit, if one plays the drums.
        drum_loop: Recorded drum loop, if one replaces them.
        first_beat_s: Time of the first beat in seconds; the tempo is constant.
        chords: Chords of each bar, which repeat.
    """

    genre: str
    groove: str
    tempo_bpm: int
    tempo: str
    key: str
    mode: str
    metre: str
    instruments: tuple[str, ...]
    lead: str
    families: tuple[str, ...]
    drums: bool
    solo: bool
    sound_font: str
    seed: str
    drum_kit: str = ""
    drum_loop: str = ""
    first_beat_s: float | None = None
    chords: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The facts; those that only the second edition has are left away where they are empty."""
        values = dataclasses.asdict(self)
        optional = ("drum_kit", "drum_loop", "first_beat_s", "chords")
        return {k: v for k, v in values.items() if k not in optional or v not in ("", None, ())}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Truth:
        """Read the facts from parsed JSON.

        Raises:
            TypeError: if a fact is missing or unknown.
        """
        facts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return Truth(**facts)


RESERVED = 0.06


def is_reserved(truth: Truth) -> bool:
    """Whether a piece belongs to a combination that no model may train on.

    A fixed share of all combinations of lead, genre and tempo word is held out: a model has seen
    each part in training, but never the three together.
    """
    combination = f"reserved {truth.lead} {truth.genre} {truth.tempo}"
    return int.from_bytes(hashlib.sha256(combination.encode()).digest()[:8], "big") / 2**64 < RESERVED


def tempo_word(bpm: int) -> str:
    """Slow below 84 beats a minute, fast from 120 on."""
    return "slow" if bpm < 84 else "moderate" if bpm < 120 else "fast"


_TEMPO_WORDS = {
    "slow": ("slow", "slow", "gentle"),
    "moderate": ("moderate", "mid-tempo", "medium-tempo"),
    "fast": ("fast", "fast", "upbeat", "lively"),
}
_MOODS = {
    ("major", "slow"): ("peaceful", "tender", "warm", "calm"),
    ("major", "moderate"): ("bright", "friendly", "light-hearted", "warm"),
    ("major", "fast"): ("cheerful", "joyful", "happy", "playful"),
    ("minor", "slow"): ("sad", "melancholic", "sombre", "mournful"),
    ("minor", "moderate"): ("wistful", "moody", "dark", "melancholic"),
    ("minor", "fast"): ("dramatic", "tense", "restless", "dark"),
}
_LOUD = frozenset({"heavy metal", "rock", "techno", "trance", "house", "disco", "funk", "hip hop"})
_LOUD_MOODS = {"major": ("bright", "energetic"), "minor": ("dark", "driving")}


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _plays(lead: str) -> str:
    """The lead and its verb: ``The violin plays``, but ``The strings play``."""
    return f"The {lead} {'play' if lead in ('strings', 'steel drums') else 'plays'}"


_COUNTABLE = frozenset(
    [
        "ballad",
        "blues",
        "cha-cha",
        "hymn",
        "jig",
        "lullaby",
        "march",
        "nocturne",
        "polka",
        "rumba",
        "samba",
        "tango",
        "waltz",
    ]
)
_PIECES = frozenset({"ambient", "boogie-woogie", "classical", "folk", "jazz", "ragtime"})


def _noun(genre: str) -> str:
    """The genre as a thing: ``waltz`` or ``country waltz``, but ``folk piece`` and ``ska track``."""
    if genre.split()[-1] in _COUNTABLE:
        return genre
    return f"{genre} piece" if genre in _PIECES else f"{genre} track"


def tags(truth: Truth) -> tuple[str, ...]:
    """Short tags: genre, instruments, tempo in words and in beats a minute, mode, drums."""
    found = [truth.genre, *truth.instruments, truth.tempo, f"{truth.tempo_bpm} bpm", f"{truth.mode} key"]
    if truth.solo:
        found += [f"solo {truth.lead}", "solo"]
    found.append("drums" if truth.drums else "no drums")
    found.append("instrumental")
    return tuple(dict.fromkeys(found))


def title(truth: Truth) -> str:
    """A plain title, for instance ``Waltz in A minor``."""
    return f"{_capital(truth.genre)} in {truth.key} {truth.mode}"


def sentences(truth: Truth, rng: random.Random) -> tuple[str, ...]:
    """Four or five sentences, each of another kind.

    Half of the elements of the text batch, tags included, give the tempo in beats per minute.

    Args:
        truth: Facts of the piece.
        rng: Source of the choice of words.
    """
    words = _words(truth, rng)
    who, details = _players(truth, words)
    noun, bpm = f"{words.tempo} {words.noun}", truth.tempo_bpm
    drums = " and drums" if truth.drums else ""
    # A slow blues is slow by its name.
    pace = truth.genre if truth.genre.startswith("slow ") else f"{truth.tempo} {truth.genre}"
    first = rng.choice(
        [
            f"{noun} {rng.choice(who)} in {words.key}.",
            f"{noun} {rng.choice(who)}.",
            f"{words.mood} {words.noun} {rng.choice(who)}.",
        ]
    )
    facts = rng.choice(
        [
            f"{_article(words.noun)} in {words.key} at {bpm} bpm.",
            f"{words.tempo} {truth.genre} with {truth.lead}{drums} at {bpm} bpm.",
            f"{_article(pace)} instrumental in {truth.metre} time, {truth.mode} key, {bpm} beats per minute.",
        ]
    )
    feeling = rng.choice(
        [
            f"the mood is {words.mood} and the tempo is {truth.tempo}.",
            f"{words.mood} {truth.genre} music.",
            f"{words.mood}, {truth.tempo} instrumental music in a {truth.mode} key.",
        ]
    )
    chosen = [_article(first), rng.choice(details), facts]
    if rng.random() < 0.6:
        chosen.append(feeling)
    chosen.append(f"{_article(words.noun)} at {bpm} bpm.")
    return tuple(dict.fromkeys(map(_capital, chosen)))


def varied_sentences(truth: Truth, rng: random.Random) -> tuple[str, ...]:
    """Captions of the second edition: the sentences of the first, and three in other styles.

    A list of keywords, a short phrase as people type it, and a line of tempo and key, each with facts left
    out at random; tempo and key are written as numbers, symbols or words.

    Args:
        truth: Facts of the piece.
        rng: Source of the choice of words.
    """
    spoken_key = truth.key[0] + {"b": " flat", "#": " sharp"}.get(truth.key[1:], "")
    symbol = truth.key + ("m" if truth.mode == "minor" else "")
    key = rng.choice([f"{truth.key} {truth.mode}", f"{spoken_key} {truth.mode}", f"key of {symbol}", symbol])
    bpm = rng.choice(
        [
            f"{truth.tempo_bpm} bpm",
            f"{truth.tempo_bpm}bpm",
            f"{truth.tempo_bpm} beats per minute",
            f"{number_words(truth.tempo_bpm)} bpm",
            f"tempo {truth.tempo_bpm}",
        ]
    )
    mood = rng.choice(_LOUD_MOODS[truth.mode] if truth.genre in _LOUD else _MOODS[truth.mode, truth.tempo])
    drums = "drums" if truth.drums else "no drums"
    facts = [*truth.instruments[:4], truth.tempo, mood, bpm, key, drums, "instrumental"]
    kept = [fact for fact in facts if rng.random() < 0.6]
    rng.shuffle(kept)
    keywords = ", ".join([truth.genre, *kept])
    phrase = " ".join([rng.choice([truth.tempo, mood, f"{mood} {truth.tempo}"]), truth.genre, truth.lead])
    numbers = rng.choice([f"{bpm}, {key}", f"{key}, {bpm}", bpm, key])
    return (*sentences(truth, rng), keywords, phrase, numbers)


@dataclass(frozen=True)
class _Words:
    """Words chosen for one piece, so that its sentences agree."""

    tempo: str
    mood: str
    noun: str
    key: str


def _words(truth: Truth, rng: random.Random) -> _Words:
    # "Gentle heavy metal" would be silly; so would be a sombre disco.
    loud = truth.genre in _LOUD
    tempo = truth.tempo if loud else rng.choice(_TEMPO_WORDS[truth.tempo])
    if truth.genre.startswith("slow ") and tempo == "slow":
        tempo = "gentle"
    mood = rng.choice(_LOUD_MOODS[truth.mode] if loud else _MOODS[truth.mode, truth.tempo])
    spoken = truth.key[0] + {"b": " flat", "#": " sharp"}.get(truth.key[1:], "")
    return _Words(tempo, mood, _noun(truth.genre), f"{rng.choice((truth.key, spoken))} {truth.mode}")


def _players(truth: Truth, words: _Words) -> tuple[list[str], list[str]]:
    """Ways to say who plays, and whole sentences about it."""
    lead, thing = truth.lead, _article(f"{words.mood} {words.noun}")
    if truth.solo:
        return [f"for solo {lead}", f"played on {lead} alone", f"for {lead} solo"], [
            f"Solo {lead}, {truth.tempo} tempo, {truth.mode} key.",
            f"A single {lead} plays {thing}, no drums.",
            f"Unaccompanied {lead} music in {truth.metre} time.",
        ]
    others = [name for name in truth.instruments if name != lead]
    band = [*others[:3], *(["drums"] if truth.drums else [])]
    together, rest = _listed([lead, *band]), _listed(band)
    detail = [
        f"{_plays(lead)} the melody over {rest}.",
        f"A melody on {lead} is accompanied by {rest}.",
        f"{_capital(together)} play {thing}.",
    ]
    if not truth.drums:
        detail.append(f"{_capital(thing)} without drums, {lead} over {rest}.")
    return [f"with {together}", f"led by {lead}, with {rest}", f"for {together}"], detail
