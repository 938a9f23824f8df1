"""Tempo, key and beats as conditions: values of clips, batches of them, and dropout.

Deviation: the paper conditions on text only, in which a number is a few tokens among many. Here a network may
take tempo, tonic and mode as inputs of their own, and the beat phase as a signal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_n2m.errors import InputError, check_range
from lightning_n2m.networks.number_embedding import ABSENT, FASTEST, SLOWEST, NumberName
from lightning_n2m.seeding import PerSampleGenerator

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MODES = ("major", "minor")
ENHARMONIC = {
    "Db": "C#",
    "D#": "Eb",
    "Gb": "F#",
    "G#": "Ab",
    "A#": "Bb",
    "Cb": "B",
    "Fb": "E",
    "E#": "F",
    "B#": "C",
}
# Which dropout of two numbers takes a number.
_PAIR: dict[NumberName, str] = {
    "tempo": "tempo_and_beats",
    "beat_phase": "tempo_and_beats",
    "tonic": "tonic_and_mode",
    "mode": "tonic_and_mode",
}
_SIGNS = {"": "", "#": "#", "b": "b", "sharp": "#", "flat": "b", "♯": "#", "♭": "b"}
_KEY = re.compile(r"([A-Ga-g])[ -]?(#|b|♯|♭|sharp|flat)?[ -]?(major|minor|maj|min|m)?")


@dataclass(frozen=True)
class MusicNumbers:
    """Tempo, key and beats of one clip; null where unknown.

    Args:
        tempo: Beats per minute.
        key: Tonic as written, and ``major`` or ``minor``.
        beat: Position of the first sample in beats: 0 if a beat falls on it. Needs a tempo.
    """

    tempo: float | None = None
    key: tuple[str, str] | None = None
    beat: float | None = None


@dataclass(frozen=True)
class NumberDropout:
    """Probabilities with which a training sample loses a number, beside those that lose their text with it.

    Args:
        tempo: Dropout of the tempo.
        tonic: Dropout of the tonic.
        mode: Dropout of the mode.
        beat_phase: Dropout of the beat phase.
        tempo_and_beats: Dropout of tempo and beat phase together, as in a prompt that names no tempo.
        tonic_and_mode: Dropout of tonic and mode together, as in a prompt that names no key.
    """

    tempo: float = 0.2
    tonic: float = 0.2
    mode: float = 0.2
    beat_phase: float = 0.2
    tempo_and_beats: float = 0.0
    tonic_and_mode: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name, value in vars(self).items():
            check_range(f"number_dropout.{name}", value, 0, 1)


def parse_key(text: str) -> tuple[str, str]:
    """Read a key: ``D minor``, ``Dm``, ``B flat major``, ``F#``; a tonic alone is major.

    Args:
        text: The key, as people write it.

    Returns:
        Tonic and mode.

    Raises:
        InputError: if it is not a key.
    """
    match = _KEY.fullmatch(text.strip())
    if match is None:
        raise InputError(f"The key {text[:40]!r} cannot be read; write it like 'D minor' or 'Bb major'.")
    mode = "minor" if match[3] in ("minor", "min", "m") else "major"
    return match[1].upper() + _SIGNS[match[2] or ""], mode


def key_classes(key: tuple[str, str] | None) -> tuple[int, int]:
    """Pitch class of the tonic and number of the mode; `ABSENT` for what is unknown."""
    if key is None:
        return ABSENT, ABSENT
    tonic = ENHARMONIC.get(key[0], key[0])
    return (
        TONICS.index(tonic) if tonic in TONICS else ABSENT,
        MODES.index(key[1]) if key[1] in MODES else ABSENT,
    )


def numbers_of_truth(truth: Mapping[str, Any], start_s: float) -> MusicNumbers:
    """Numbers of a crop from the facts of its track, which may come from a stranger.

    The beat is known where the facts hold ``first_beat_s``. The starter corpus's first edition (which names
    its sound font) does not state it: its pieces begin on a beat.

    Args:
        truth: Facts of the track, see `lightning_n2m.data.schema.TrackMetadata`.
        start_s: Start of the crop in its track, in seconds.
    """
    tempo = _finite(truth.get("tempo_bpm"))
    if tempo is not None and not SLOWEST <= tempo <= FASTEST:
        tempo = None
    tonic, mode = truth.get("key"), truth.get("mode")
    key = (tonic, mode) if isinstance(tonic, str) and isinstance(mode, str) else None
    first_beat = _finite(truth.get("first_beat_s", 0.0 if "sound_font" in truth else None))
    beat = None if tempo is None or first_beat is None else (start_s - first_beat) * tempo / 60
    return MusicNumbers(tempo, key, beat)


def _finite(value: Any) -> float | None:
    """A finite number, or null."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e6 else None


def to_tensors(numbers: MusicNumbers) -> dict[str, Tensor]:
    """Scalar tensors ``tempo``, ``tonic``, ``mode`` and ``beat``, which a loader stacks to batches."""
    tonic, mode = key_classes(numbers.key)
    return {
        "tempo": torch.tensor(math.nan if numbers.tempo is None else numbers.tempo, dtype=torch.float32),
        "tonic": torch.tensor(tonic),
        "mode": torch.tensor(mode),
        # A whole number of beats more is the same phase; small numbers keep their precision.
        "beat": torch.tensor(math.nan if numbers.beat is None else numbers.beat % 1.0, dtype=torch.float32),
    }


def to_batch(numbers: Sequence[MusicNumbers], device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Tensors ``(b,)`` of several clips."""
    rows = [to_tensors(row) for row in numbers]
    return {name: torch.stack([row[name] for row in rows]).to(device) for name in rows[0]}


def beat_phase(tempo: Tensor, beat: Tensor, length: int, rate: float) -> Tensor:
    """Sine and cosine of the beat phase, ``(b, 2, length)``; zero where the beats are unknown.

    Args:
        tempo: Beats per minute, ``(b,)``; NaN where unknown.
        beat: Beats at the first step, ``(b,)``; NaN where unknown.
        length: Number of steps.
        rate: Steps per second.
    """
    seconds = torch.arange(length, device=tempo.device, dtype=torch.float64) / rate
    turns = beat[:, None].double() + seconds * tempo[:, None].double() / 60
    angle = 2 * math.pi * (turns % 1.0)
    phase = torch.stack([angle.sin(), angle.cos()], dim=1)
    return torch.where(phase.isfinite(), phase, 0.0).float()


def condition_tensors(
    names: Sequence[NumberName], numbers: Mapping[str, Tensor], length: int, rate: float
) -> dict[str, Tensor]:
    """Fields of `lightning_n2m.networks.conditions.Conditions` for the numbers that a network takes.

    Args:
        names: The numbers that it takes.
        numbers: Tensors ``(b,)`` as of `to_batch`.
        length: Steps of x_t.
        rate: Steps per second.
    """
    fields: dict[str, Tensor] = {name: numbers[name] for name in names if name != "beat_phase"}
    if "beat_phase" in names:
        fields["beat_phase"] = beat_phase(numbers["tempo"], numbers["beat"], length, rate)
    return fields


def draw_dropout(
    names: Sequence[NumberName],
    dropout: NumberDropout,
    rng: PerSampleGenerator,
    text_dropped: Tensor | None = None,
) -> dict[str, Tensor]:
    """Which samples lose which number: by own draws, in pairs, and together with their text.

    Without its text and all numbers, a sample trains the unconditional branch of guidance.

    Args:
        names: The numbers that the network takes.
        dropout: Probabilities.
        rng: Source of one draw per probability and sample. It is not the generator of the other draws of a
            sample, so that these stay the same whichever numbers a network takes.
        text_dropped: True for the samples that lose their text, ``(b,)``.
    """
    # All draws are made in a fixed order: each number's do not depend on which others the network takes.
    drawn = {name: rng.uniform() < probability for name, probability in vars(dropout).items()}
    if text_dropped is not None:
        drawn = {name: drop | text_dropped for name, drop in drawn.items()}
    return {name: drawn[name] | drawn[_PAIR[name]] for name in names}
