"""Rendering of a score with sound fonts (tinysoundfont), at an even level."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_pipeline.starter_corpus import debian
from data_pipeline.starter_corpus.events import DRUMS, Event
from data_pipeline.starter_corpus.instruments import is_bass
from lightning_n2m.errors import InputError

RATE = (
    48_000  # Pitched-up samples alias at the output rate, so notes are made at twice the 24 kHz that is kept.
)
FONTS = {
    "FluidR3_GM": ("fluid-soundfont-gm", "usr/share/sounds/sf2/FluidR3_GM.sf2"),
    "MuseScore_General_Lite": (
        "musescore-general-soundfont-small",
        "usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
    ),
}
# MuseScore_General shapes these (pianos; synthesizer effects) with modulators, which tinysoundfont
# does not know: they come out muffled or nearly silent. FluidR3 plays them instead.
_NEED_FLUID = frozenset({0, 1, 2, 3, *range(88, 104)})
_LEVEL_DB = -36.0  # What every instrument is turned down to before the mix.


class Synthesizer:
    """Both sound fonts, loaded once, every instrument brought to the same loudness.

    Sound fonts differ by 20 dB between instruments, which would bury a melody or make it shout.

    Args:
        cache: Folder that keeps unpacked Debian packages.

    Raises:
        InputError: if a sound font or tinysoundfont itself cannot be had.
    """

    def __init__(self, cache: Path) -> None:
        try:
            import tinysoundfont
        except ImportError as error:
            raise InputError(
                "tinysoundfont is not installed; run 'python -m pip install --no-deps tinysoundfont'."
            ) from error

        self._synth = tinysoundfont.Synth(samplerate=RATE)
        self._fonts = {
            name: self._synth.sfload(str(debian.file(package, path, cache)))
            for name, (package, path) in FONTS.items()
        }
        self._gains: dict[tuple[str, int, bool], float] = {}

    def _generate(self, frames: int) -> np.ndarray:
        stereo = np.frombuffer(self._synth.generate_simple(frames), dtype=np.float32).reshape(-1, 2)
        return stereo.mean(axis=1)

    def _select(self, channel: int, font: str, program: int, drums: bool) -> None:
        self._synth.program_select(channel, self._fonts[font], 0, program, drums)

    def _reset(self) -> None:
        """Silence: what one piece leaves behind must not be heard in the next, nor change its bytes."""
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
            font: A key of `FONTS`.
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

    @staticmethod
    def _font(font: str, event: Event) -> str:
        return "FluidR3_GM" if event.channel != DRUMS and event.value in _NEED_FLUID else font

    def _program(self, event: Event, font: str) -> None:
        drums = event.channel == DRUMS
        font = self._font(font, event)
        self._select(event.channel, font, 0 if drums else event.value, drums)
        gain = self._gain(font, event.value, drums)
        # tinysoundfont's loudness follows the third power of the expression controller.
        self._synth.control_change(event.channel, 11, max(1, min(127, round(127 * gain ** (1 / 3)))))
