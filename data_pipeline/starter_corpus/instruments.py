"""Instruments that can carry a melody, with their General MIDI programs and ranges."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """An instrument that can carry a melody.

    Args:
        name: Plain name, as in captions.
        program: General MIDI program, 0 to 127.
        low: Lowest MIDI note of its melodies.
        high: Highest MIDI note of its melodies.
        polyphonic: Whether it can accompany itself: such an instrument plays with two hands when alone.
    """

    name: str
    program: int
    low: int
    high: int
    polyphonic: bool = False


_ALL = (
    Instrument("piano", 0, 64, 86, True),
    Instrument("electric piano", 4, 62, 84, True),
    Instrument("harpsichord", 6, 62, 84, True),
    Instrument("celesta", 8, 72, 94, True),
    Instrument("music box", 10, 72, 94, True),
    Instrument("vibraphone", 11, 60, 82, True),
    Instrument("marimba", 12, 60, 82, True),
    Instrument("xylophone", 13, 67, 88),
    Instrument("organ", 16, 60, 82, True),
    Instrument("church organ", 19, 60, 82, True),
    Instrument("accordion", 21, 62, 84, True),
    Instrument("harmonica", 22, 62, 84),
    Instrument("bandoneon", 23, 60, 80),
    Instrument("acoustic guitar", 24, 57, 76, True),
    Instrument("jazz guitar", 26, 57, 77, True),
    Instrument("electric guitar", 27, 57, 79, True),
    Instrument("overdriven guitar", 29, 55, 79),
    Instrument("distorted guitar", 30, 52, 79),
    Instrument("violin", 40, 62, 86),
    Instrument("viola", 41, 55, 76),
    Instrument("cello", 42, 43, 67),
    Instrument("harp", 46, 60, 84, True),
    Instrument("trumpet", 56, 58, 80),
    Instrument("trombone", 57, 46, 67),
    Instrument("muted trumpet", 59, 60, 80),
    Instrument("french horn", 60, 50, 70),
    Instrument("soprano saxophone", 64, 60, 82),
    Instrument("alto saxophone", 65, 54, 77),
    Instrument("tenor saxophone", 66, 49, 72),
    Instrument("oboe", 68, 62, 84),
    Instrument("bassoon", 70, 43, 65),
    Instrument("clarinet", 71, 55, 80),
    Instrument("piccolo", 72, 76, 96),
    Instrument("flute", 73, 65, 90),
    Instrument("recorder", 74, 67, 88),
    Instrument("pan flute", 75, 65, 86),
    Instrument("whistle", 78, 72, 91),
    Instrument("synth lead", 81, 60, 84),
    Instrument("sitar", 104, 55, 76),
    Instrument("banjo", 105, 55, 77, True),
    Instrument("fiddle", 110, 62, 86),
    Instrument("steel drums", 114, 62, 84),
    Instrument("choir", 52, 60, 79),
    Instrument("strings", 48, 58, 82),
)
INSTRUMENTS: dict[str, Instrument] = {instrument.name: instrument for instrument in _ALL}
