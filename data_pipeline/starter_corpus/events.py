"""A score as the synthesizer takes it: timed events on sixteen channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.starter_corpus.melody import Note

DRUMS = 9


@dataclass(frozen=True, order=True)
class Event:
    """Something that happens on a channel.

    Args:
        time: Seconds from the beginning.
        rank: Order among events of one time: settings, then ends, then starts of notes.
        channel: 0 to 15; 9 is the drums.
        kind: ``program``, ``volume``, ``off`` or ``on``.
        value: Program, volume or MIDI pitch.
        velocity: Of an ``on``, 1 to 127.
    """

    time: float
    rank: int
    channel: int
    kind: str
    value: int
    velocity: int = 0


def load(path: Path) -> list[Event]:
    """Read a MIDI file, in order of time. Events other than notes, programs and volumes are skipped."""
    from tinysoundfont import midi

    events = []
    for event in midi.load(str(path)):
        action, when = event.action, round(event.t, 6)
        match action:
            case midi.NoteOn(key=key, velocity=velocity) if velocity:
                events.append(Event(when, 2, event.channel, "on", key, velocity))
            case midi.NoteOn(key=key) | midi.NoteOff(key=key):
                events.append(Event(when, 1, event.channel, "off", key))
            case midi.ProgramChange(program=program):
                events.append(Event(when, 0, event.channel, "program", program))
            case midi.ControlChange(control=7, control_value=volume):
                events.append(Event(when, 0, event.channel, "volume", volume))
    return sorted(events)


def perform(
    notes: Iterable[Note],
    channel: int,
    program: int,
    tempo: float,
    swing: float = 0.5,
    late: Iterable[float] = (),
) -> list[Event]:
    """Turn notes into events.

    Args:
        notes: Starts and lengths in beats.
        channel: Channel to play on.
        program: General MIDI program.
        tempo: Beats a minute.
        swing: Where the middle of a beat falls, from 0.5 (straight) to 0.67 (a triplet).
        late: Seconds by which each note comes late: a player is no clock.
    """

    def seconds(beat: float) -> float:
        whole, part = divmod(beat, 1.0)
        bent = part * swing / 0.5 if part <= 0.5 else swing + (part - 0.5) * (1 - swing) / 0.5
        return (whole + bent) * 60 / tempo

    events = [Event(0.0, 0, channel, "program", program)]
    delays = iter(late)
    for note in notes:
        start = seconds(note.start) + next(delays, 0.0)
        end = max(start + 0.06, seconds(note.start + note.length))
        events.append(Event(round(start, 6), 2, channel, "on", note.pitch, note.velocity))
        events.append(Event(round(end, 6), 1, channel, "off", note.pitch))
    return sorted(events)


def programs(events: Iterable[Event], until: float) -> list[int]:
    """Programs that play a note before ``until`` seconds, most notes first, without the drums."""
    current: dict[int, int] = {}
    count: dict[int, int] = {}
    for event in events:
        if event.time >= until:
            break
        if event.kind == "program":
            current[event.channel] = event.value
        elif event.kind == "on" and event.channel != DRUMS:
            program = current.get(event.channel, 0)
            count[program] = count.get(program, 0) + 1
    return sorted(count, key=lambda program: (-count[program], program))
