"""Styles of music: what a waltz, a ska or a nocturne is made of. The data is in styles.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

# Who may accompany a melody instrument when there is no band.
ACCOMPANISTS = ("piano", "acoustic guitar", "harp", "organ", "strings", "electric piano", "accordion")


@dataclass(frozen=True)
class Style:
    """A style.

    Args:
        genre: Its name, as in captions.
        metre: Time signature, a key of `melody.METRES`.
        tempo: Slowest and fastest tempo, in beats a minute.
        leads: Instruments that carry the melody (names of `instruments.INSTRUMENTS`); one that stands
            twice is drawn twice as often.
        major: Chord progressions in major, as Roman numerals.
        minor: Chord progressions in minor.
        minor_share: Share of pieces in minor.
        grooves: Accompaniment by MMA, as ``file:groove``; empty when an instrument accompanies.
        figures: Accompaniment figures (keys of `patterns.FIGURES`); empty when MMA accompanies.
        swing: Where an off-beat falls between two beats: 0.5 straight, 0.66 swung.
        density: From few (0) to many (1) melody notes.
        extra: Lines of MMA that add tracks to the groove.
        drumless: Share of pieces without drums.
    """

    genre: str
    metre: str
    tempo: tuple[int, int]
    leads: tuple[str, ...]
    major: tuple[str, ...]
    minor: tuple[str, ...]
    minor_share: float
    grooves: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    swing: float = 0.5
    density: float = 0.45
    extra: str = ""
    drumless: float = 0.2


def _load() -> dict[str, tuple[Style, ...]]:
    text = resources.files(__package__).joinpath("styles.toml").read_text(encoding="utf-8")
    data: dict[str, Any] = tomllib.loads(text)
    progressions = data.pop("progressions")

    def style(values: dict[str, Any]) -> Style:
        for mode in ("major", "minor"):
            values[mode] = progressions[values[mode]]
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return Style(**fields)

    return {kind: tuple(map(style, styles)) for kind, styles in data.items()}


_STYLES = _load()
BANDS = _STYLES["band"]
# Pieces without a band: one player alone, or a melody instrument that another one accompanies.
CHAMBER = _STYLES["chamber"]
