"""General MIDI instruments in plain words, and their families: the one list that all parts share."""

from __future__ import annotations

# Families of eight programs each, in General MIDI order.
_GENERAL_MIDI = """
piano: piano, piano, electric grand piano, honky-tonk piano, \
electric piano, electric piano, harpsichord, clavinet
mallets: celesta, glockenspiel, music box, vibraphone, marimba, xylophone, tubular bells, dulcimer
organ: organ, organ, organ, church organ, reed organ, accordion, harmonica, bandoneon
guitar: acoustic guitar, acoustic guitar, jazz guitar, electric guitar, \
muted electric guitar, overdriven guitar, distorted guitar, guitar harmonics
bass: double bass, electric bass, electric bass, fretless bass, slap bass, slap bass, synth bass, synth bass
strings: violin, viola, cello, double bass, tremolo strings, pizzicato strings, harp, timpani
ensemble: strings, strings, synth strings, synth strings, choir, voices, synth voice, orchestra hit
brass: trumpet, trombone, tuba, muted trumpet, french horn, brass section, synth brass, synth brass
woodwind: soprano saxophone, alto saxophone, tenor saxophone, baritone saxophone, \
oboe, english horn, bassoon, clarinet
woodwind: piccolo, flute, recorder, pan flute, bottle, shakuhachi, whistle, ocarina
synth: synth lead, synth lead, synth lead, synth lead, synth lead, synth lead, synth lead, synth lead
synth: synth pad, synth pad, synth pad, synth pad, synth pad, synth pad, synth pad, synth pad
synth: synth texture, synth texture, synth texture, synth texture, \
synth texture, synth texture, synth texture, synth texture
folk: sitar, banjo, shamisen, koto, kalimba, bagpipe, fiddle, shanai
percussion: bells, agogo, steel drums, woodblock, taiko, tom, synth drum, reverse cymbal
effects: guitar noise, breath noise, seashore, bird, telephone, helicopter, applause, gunshot
"""
_FAMILIES = [line.split(": ") for line in _GENERAL_MIDI.strip().splitlines()]
NAMES: tuple[str, ...] = tuple(name.strip() for _, names in _FAMILIES for name in names.split(","))


def family_of(program: int) -> str:
    """Family of a General MIDI program (0 to 127), for instance ``strings`` for the violin."""
    return _FAMILIES[program // 8][0]


def is_bass(program: int) -> bool:
    """Whether a program plays the low line: it is levelled by a low note."""
    return 32 <= program < 40 or program in (43, 58)


# Programs that are effects or single hits: no one names them as the instrument of a piece.
_EFFECTS = frozenset({"orchestra hit", "bottle", "tom", "synth drum", "reverse cymbal"})


def family_by_name() -> dict[str, str]:
    """Family of each instrument by its plain name; of a name that two families share, the first one."""
    families: dict[str, str] = {}
    for program, name in enumerate(NAMES):
        if family_of(program) != "effects" and name not in _EFFECTS:
            families.setdefault(name, family_of(program))
    return families
