"""Pieces of music whose facts are known exactly, because they are composed here."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from data_pipeline.starter_corpus.description import Truth, tempo_word
from data_pipeline.starter_corpus.events import DRUMS, Event, perform, programs
from data_pipeline.starter_corpus.harmony import Key, Mode, new_progression, progression
from data_pipeline.starter_corpus.instruments import INSTRUMENTS, Instrument
from data_pipeline.starter_corpus.loops import fits
from data_pipeline.starter_corpus.melody import FIRST_EDITION, METRES, Manner, Note, compose, draw_manner
from data_pipeline.starter_corpus.patterns import accompany
from data_pipeline.starter_corpus.sounds import Edition, fonts, kits, loops
from data_pipeline.starter_corpus.styles import ACCOMPANISTS, BANDS, CHAMBER, Style
from lightning_n2m.data.instruments import NAMES, family_of

if TYPE_CHECKING:
    from data_pipeline.starter_corpus.mma import Accompanist

SECONDS = 30.0
# Lowest note of the left hand, as MIDI pitch; 38 on instruments that are not named here.
_LOW = {
    **dict.fromkeys(("acoustic guitar", "jazz guitar", "electric guitar"), 40),
    **dict.fromkeys(("celesta", "music box"), 55),
    **dict.fromkeys(("banjo", "vibraphone"), 48),
    **dict.fromkeys(("accordion", "strings"), 43),
    "marimba": 45,
}
Kind = Literal["band", "solo", "duo"]
_WIDER = 1.25  # Factor of the range of tempi of each style in the second edition.
# Straight 4/4 styles in which a recorded drum loop may replace the groove's own drums.
_LOOP_GENRES = frozenset({"techno", "trance", "house", "disco", "funk", "hip hop", "rock"})


@dataclass(frozen=True)
class Plan:
    """Every choice for a piece, made before its notes are composed."""

    seed: str
    kind: Kind
    style: Style
    groove: str
    key: Key
    tempo: int
    lead: Instrument
    partner: Instrument | None
    drums: bool
    sound_font: str
    numerals: str
    density: float
    drum_kit: str = ""
    drum_loop: str = ""
    manner: Manner = FIRST_EDITION


@dataclass(frozen=True)
class Piece:
    """A composed piece: events of melody, accompaniment and drums, each in order, and its facts."""

    lead: tuple[Event, ...]
    rest: tuple[Event, ...]
    drums: tuple[Event, ...]
    truth: Truth


def plan(seed: int, number: int, edition: Edition = 1) -> Plan:
    """Draw the choices for piece ``number``; they do not depend on how many pieces are rendered.

    The second edition has more sound fonts, recorded drum kits and loops, wider ranges of tempi, modes that
    depend less on the style, new chord progressions, and melodies of other contours, rhythms and forms.

    Args:
        seed: Seed of the corpus.
        number: Number of the piece, from 0.
        edition: Edition of the corpus.
    """
    name = f"{seed}/{number}" if edition == 1 else f"{edition}/{seed}/{number}"
    rng = random.Random(f"plan {seed} {number}" if edition == 1 else f"plan {name}")
    kind: Kind = rng.choices(("band", "solo", "duo"), (0.6, 0.28, 0.12))[0]  # type: ignore[assignment]
    style = rng.choice(BANDS if kind == "band" else CHAMBER)
    lead = INSTRUMENTS[rng.choice(style.leads)]
    # From the second edition on, mode and tempo say less about the genre, and so more about themselves.
    minor_share = style.minor_share if edition == 1 else 0.2 + 0.6 * style.minor_share
    mode: Mode = "minor" if rng.random() < minor_share else "major"
    groove, partner = rng.choice(style.grooves or ("",)), None
    if kind == "duo" or (kind == "solo" and lead.polyphonic):
        groove = rng.choice(style.figures)
    if kind == "duo":
        partner = INSTRUMENTS[rng.choice([name for name in ACCOMPANISTS if name != lead.name])]
    slowest, fastest = style.tempo
    if edition > 1:
        slowest, fastest = max(50, round(slowest / _WIDER)), min(200, round(fastest * _WIDER))
    tempo = rng.randint(slowest, fastest)
    if groove == "slow waltz":
        tempo = min(tempo, 100)
    key = Key(rng.randrange(12), mode)
    drums = kind == "band" and rng.random() >= style.drumless
    sound_font = rng.choice(sorted(fonts(edition)))
    progressions = style.minor if mode == "minor" else style.major
    numerals, density, manner = rng.choice(progressions), style.density, FIRST_EDITION
    drum_kit = drum_loop = ""
    if edition > 1 and drums:
        # A third of the drums is a recorded kit; of the others, straight styles may have a recorded loop.
        source = rng.random()
        if source < 0.33:
            drum_kit = rng.choice(sorted(kits(edition)))
        elif style.genre in _LOOP_GENRES and style.metre == "4/4":
            drum_loop = rng.choice([*(name for name, loop in loops().items() if fits(loop, tempo)), ""])
    if edition > 1:
        manner = draw_manner(rng)
        density = min(1.0, density * rng.uniform(0.6, 1.5))
        if rng.random() < 0.6:
            numerals = new_progression(progressions, numerals, rng)
    return Plan(
        seed=name,
        kind=kind,
        style=style,
        groove=groove,
        key=key,
        tempo=tempo,
        lead=lead,
        partner=partner,
        drums=drums,
        sound_font=sound_font,
        numerals=numerals,
        density=density,
        drum_kit=drum_kit,
        drum_loop=drum_loop,
        manner=manner,
    )


def arrange(chosen: Plan, accompanist: Accompanist) -> Piece:
    """Compose a piece and write down its facts.

    Args:
        chosen: From `plan`.
        accompanist: MMA.
    """
    rng = random.Random(f"notes {chosen.seed}")
    style, metre, lead = chosen.style, METRES[chosen.style.metre], chosen.lead
    bars = progression(chosen.key, chosen.numerals, math.ceil(SECONDS * chosen.tempo / 60 / metre.beats) + 1)
    # At most some four notes a second, whatever the tempo.
    places = metre.division * chosen.tempo / 60
    density = min(chosen.density, 4.0 / places)
    # A piece may begin with a bar or two of accompaniment, but never with silence.
    rest = rng.choice((0, 0, 0, 2 if metre.beats < 4 else 1)) if chosen.groove else 0
    notes = compose(chosen.key, bars, metre, density, lead.low, lead.high, rng, rest, chosen.manner)
    late = [abs(rng.gauss(0, 0.006)) for _ in notes]
    lead_events = perform(notes, 0, lead.program, chosen.tempo, style.swing, late)
    rest_events: list[Event] = []
    if chosen.kind == "band":
        rest_events = accompanist.play(
            chosen.groove, bars, metre, chosen.tempo, rng.randrange(10**6), style.extra
        )
    elif chosen.partner is not None:
        played = accompany(chosen.groove, bars, metre, _LOW.get(chosen.partner.name, 38), rng)
        rest_events = perform(played, 1, chosen.partner.program, chosen.tempo, style.swing)
    elif chosen.groove:
        left = _below(accompany(chosen.groove, bars, metre, _LOW.get(lead.name, 38), rng), notes)
        lead_events = sorted([*lead_events, *perform(left, 0, lead.program, chosen.tempo, style.swing)])
    drums = tuple(event for event in rest_events if event.channel == DRUMS and chosen.drums)
    rest_events = [event for event in rest_events if event.channel != DRUMS]
    return Piece(tuple(lead_events), tuple(rest_events), drums, _truth(chosen, rest_events, bool(drums)))


def _below(left: list[Note], melody: list[Note]) -> list[Note]:
    """Take away left-hand notes that the right hand is holding: one key cannot be struck twice."""
    held = [(note.start, note.start + note.length, note.pitch) for note in melody]
    return [
        note
        for note in left
        if not any(
            start <= note.start + 1e-6 and note.start < end and pitch == note.pitch
            for start, end, pitch in held
        )
    ]


def _truth(chosen: Plan, rest: list[Event], drums: bool) -> Truth:
    # Channels that only click or hiss do not count as instruments.
    sounding = [program for program in programs(rest, SECONDS - 1) if program < 112 or program == 114]
    lead = chosen.lead
    names = list(
        dict.fromkeys([lead.name, *(NAMES[program] for program in sounding if program != lead.program)])
    )
    return Truth(
        genre=chosen.style.genre,
        groove=chosen.groove or "melody alone",
        tempo_bpm=chosen.tempo,
        tempo=tempo_word(chosen.tempo),
        key=chosen.key.name,
        mode=chosen.key.mode,
        metre=chosen.style.metre,
        instruments=tuple(names),
        lead=lead.name,
        families=tuple(sorted({family_of(program) for program in [lead.program, *sounding]})),
        drums=drums,
        solo=len(names) == 1 and not drums,
        sound_font=chosen.sound_font,
        seed=chosen.seed,
        drum_kit=chosen.drum_kit if drums else "",
        drum_loop=chosen.drum_loop if drums else "",
        **_second_edition(chosen),
    )


def _second_edition(chosen: Plan) -> dict[str, Any]:
    """Facts that pieces of the first edition, whose seeds have two parts, do not state."""
    if chosen.seed.count("/") < 2:
        return {}
    bars = progression(chosen.key, chosen.numerals, len(chosen.numerals.split()))
    return {"first_beat_s": 0.0, "chords": tuple(",".join(chord.name for chord in bar) for bar in bars)}
