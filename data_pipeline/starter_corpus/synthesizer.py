"""Rendering of a score with sound fonts (tinysoundfont), at an even level."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_pipeline.starter_corpus import debian
from data_pipeline.starter_corpus.events import DRUMS, Event
from data_pipeline.starter_corpus.sounds import Edition, Font, Kit, fonts, kits
from lightning_n2m.data.instruments import is_bass
from lightning_n2m.errors import InputError

# Samples that are pitched up alias at the output rate: notes are rendered at twice the 24 kHz that is kept.
RATE = 48_000
_FALLBACK_FONT = "FluidR3_GM"
_LEVEL_DB = -36.0  # Level that every instrument is turned down to before the mix.


class Synthesizer:
    """All sound fonts of an edition, loaded once; every instrument is brought to the same loudness.

    Sound fonts differ by 20 dB between instruments, which would bury or overstate a melody.

    Args:
        cache: Folder that keeps unpacked Debian packages.
        edition: Edition of the corpus.

    Raises:
        InputError: if a sound font cannot be fetched, or tinysoundfont is not installed.
    """

    def __init__(self, cache: Path, edition: Edition = 1) -> None:
        try:
            import tinysoundfont
        except ImportError as error:
            raise InputError(
                "tinysoundfont is not installed; run 'python -m pip install --no-deps tinysoundfont'."
            ) from error

        self._synth = tinysoundfont.Synth(samplerate=RATE)
        self._gm_fonts, self._kits = fonts(edition), kits(edition)
        sounds: list[Font | Kit] = [*self._gm_fonts.values(), *self._kits.values()]
        self._fonts = {
            sound.name: self._synth.sfload(str(debian.file(sound.package, sound.path, cache)))
            for sound in sounds
        }
        self._gains: dict[tuple[str, int, bool], float] = {}

    def _generate(self, frames: int) -> np.ndarray:
        stereo = np.frombuffer(self._synth.generate_simple(frames), dtype=np.float32).reshape(-1, 2)
        return stereo.mean(axis=1)

    def _select(self, channel: int, font: str, program: int, drums: bool) -> None:
        self._synth.program_select(channel, self._fonts[font], 0, program, drums)

    def _reset(self) -> None:
        """Silence every channel: one piece must not sound in the next, nor change its bytes."""
        for font in self._fonts:
            for channel in range(16):
                self._select(channel, font, 0, False)
                self._synth.control_change(channel, 121, 0)
                self._synth.control_change(channel, 120, 0)
        self._generate(RATE // 10)

    def _gain(self, font: str, program: int, drums: bool) -> float:
        """Factor that brings an instrument's reference note to the common level; measured once."""
        key = (font, program, drums)
        if key not in self._gains:
            self._reset()
            self._select(0, font, program, drums)
            total = 0.0
            pitches = (36, 38, 42) if drums else (40,) if is_bass(program) else (60, 72)
            for pitch in pitches:
                self._synth.noteon(0, pitch, 100)
                total += float(np.square(self._generate(RATE // 2)).mean()) / len(pitches)
                self._synth.sounds_off(0)
                self._generate(RATE // 20)
            level = 10 * np.log10(total + 1e-12)
            wanted = _LEVEL_DB + (3.0 if is_bass(program) else 0.0)
            self._gains[key] = float(10 ** (min(0.0, wanted - level) / 20))
        return self._gains[key]

    def render(self, events: Iterable[Event], font: str, seconds: float) -> np.ndarray:
        """Play a score.

        Args:
            events: In order of time.
            font: Name of a sound font, or of a drum kit for its own keys.
            seconds: Length to render.

        Returns:
            Mono float32 samples at `RATE`; silence when there are no events.
        """
        events = [event for event in events if event.time < seconds]
        if not events:
            return np.zeros(round(seconds * RATE), dtype=np.float32)
        chosen: dict[int, int] = {}
        for event in events:
            if event.kind == "program":
                self._gain(self._font(font, event), event.value, event.channel == DRUMS)
                chosen.setdefault(event.channel, event.value)
        channels = {event.channel for event in events}
        for channel in channels:
            self._gain(font, chosen.get(channel, 0), channel == DRUMS)
        self._reset()
        for channel in channels - set(chosen):
            self._program(Event(0.0, 0, channel, "program", 0), font)
        parts, done = [], 0
        for event in events:
            frame = round(event.time * RATE)
            if frame > done:
                parts.append(self._generate(frame - done))
                done = frame
            if event.kind == "on":
                self._synth.noteon(event.channel, event.value, event.velocity)
            elif event.kind == "off":
                self._synth.noteoff(event.channel, event.value)
            elif event.kind == "volume":
                self._synth.control_change(event.channel, 7, event.value)
            else:
                self._program(event, font)
        parts.append(self._generate(round(seconds * RATE) - done))
        return np.concatenate(parts)

    def render_drums(self, events: Iterable[Event], font: str, kit: str, seconds: float) -> np.ndarray:
        """Play drums with a recorded kit; the font plays the keys that the kit lacks.

        Args:
            events: Events of the drum channel, in order of time.
            font: Name of a sound font.
            kit: Name of a drum kit, or empty for the drums of the font.
            seconds: Length to render.

        Returns:
            Mono float32 samples at `RATE`.
        """
        if not kit:
            return self.render(events, font, seconds)
        keys = frozenset(self._kits[kit].keys)
        # Most kits have one bass drum; General MIDI has two, 35 and 36.
        events = [
            dataclasses.replace(event, value=36)
            if event.kind in ("on", "off") and event.value == 35 and 35 not in keys
            else event
            for event in events
        ]
        own, other = [], []
        for event in events:
            if event.kind not in ("on", "off"):
                own.append(event)
                other.append(event)
            else:
                (own if event.value in keys else other).append(event)
        if not any(event.kind == "on" for event in other):
            return self.render(own, kit, seconds)
        return self.render(own, kit, seconds) + self.render(other, font, seconds)

    def _font(self, font: str, event: Event) -> str:
        replaced = self._gm_fonts[font].replaced if font in self._gm_fonts else ()
        return _FALLBACK_FONT if event.channel != DRUMS and event.value in replaced else font

    def _program(self, event: Event, font: str) -> None:
        drums = event.channel == DRUMS
        font = self._font(font, event)
        self._select(event.channel, font, 0 if drums else event.value, drums)
        gain = self._gain(font, event.value, drums)
        # tinysoundfont's loudness follows the third power of the expression controller.
        self._synth.control_change(event.channel, 11, max(1, min(127, round(127 * gain ** (1 / 3)))))
