"""Tempo and beats of a recording, from the Fourier transform of its onsets at the tempo and its double."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.audio.resample import resample

MIN_SECONDS = 2.0  # of known music from which beats are estimated
MIN_CLARITY = 3.5
LATENCY = 0.013  # seconds from the rise of a log-mel to the beat: its window reaches ahead
_MEL = MelSettings()
_FRAMES = _MEL.sample_rate / _MEL.hop  # per second
_SLOWEST, _FASTEST = 45.0, 210.0  # beats per minute
_TEMPO_STEP = 0.002  # of the search, as a share of the tempo
_NEAR = 0.04  # range of a search near a tempo, as a share of it
_USUAL, _OCTAVES = 110.0, 0.5  # centre and standard deviation of the prior of tempi, a normal in octaves
_PHASES = 500  # of the search
_SECOND_HARMONIC = 0.5  # weight: most patterns have onsets between the beats as well


@dataclass(frozen=True)
class Beats:
    """A constant tempo with its beats.

    Args:
        tempo: Beats per minute.
        first: Time of a beat in seconds, from 0 to the length of a beat.
        clarity: Strength of the onsets on the beats, in standard deviations of that of random onsets.
    """

    tempo: float
    first: float
    clarity: float

    def at(self, time: float) -> float:
        """Position of a time in beats, 0 at `first`.

        Args:
            time: Seconds.
        """
        return (time - self.first) * self.tempo / 60


def onset_strength(audio: Tensor, rate: int) -> Tensor:
    """Rise of the log-mel summed over its channels, 100 values a second: ``(1, t)`` to ``(frames,)``."""
    mel = log_mel(resample(audio, rate, _MEL.sample_rate)[None], _MEL)[0]
    return (mel[:, 1:] - mel[:, :-1]).clamp(min=0).sum(0)


def estimate_beats(
    audio: Tensor, rate: int, known: Tensor | None = None, tempo: float | None = None
) -> Beats | None:
    """Tempo and beats of music of constant tempo; null where they are not clear.

    Args:
        audio: ``(1, t)``.
        rate: Its rate in Hz.
        known: Which samples to use, ``(t,)``; all of them when null.
        tempo: Tempo in beats per minute, within 4 % of which to search; any when null.
    """
    strength = onset_strength(audio, rate)
    weight = torch.ones_like(strength)
    if known is not None:
        # A frame counts if all samples of its window are known, so that an edge is no onset.
        reach = math.ceil(_MEL.window / _MEL.sample_rate * _FRAMES)
        frames = torch.nn.functional.interpolate(known.float()[None, None], len(strength), mode="nearest")
        unknown = torch.nn.functional.max_pool1d(1 - frames, 2 * reach + 1, 1, reach)
        weight = 1 - unknown[0, 0]
    count = weight.sum().item()
    if count < MIN_SECONDS * _FRAMES:
        return None
    mean = (strength * weight).sum() / count
    part = (strength - mean) * weight
    deviation = math.sqrt(part.square().sum().item() / count)
    if deviation < 1e-6:
        return None
    low, high = (_SLOWEST, _FASTEST) if tempo is None else (tempo / (1 + _NEAR), tempo * (1 + _NEAR))
    number = max(1, math.ceil(math.log(high / low) / _TEMPO_STEP)) + 1
    tempi = torch.logspace(math.log10(low), math.log10(high), number, dtype=torch.float64)
    scores, phases = _comb(part.double(), tempi)
    prior = torch.exp(-0.5 * (torch.log2(tempi / _USUAL) / _OCTAVES) ** 2) if tempo is None else 1.0
    best = int((scores * prior).argmax())
    clarity = scores[best].item() / (deviation * math.sqrt(count / 2))
    if clarity < MIN_CLARITY:
        return None
    # Position 0 of the phase is a beat at the beginning of the audio.
    period = 60 / tempi[best].item()
    return Beats(tempi[best].item(), (phases[best].item() * period + LATENCY) % period, clarity)


def beat_phase(audio: Tensor, rate: int, tempo: float, start: float, stop: float) -> float:
    """Time of the beats in a span, as a position in the beat from 0 to 1.

    Args:
        audio: ``(1, t)``.
        rate: Its rate in Hz.
        tempo: Beats per minute, known exactly.
        start: Beginning of the span in seconds.
        stop: End of the span in seconds.
    """
    strength = onset_strength(audio, rate).double()
    first, last = math.ceil(start * _FRAMES), math.floor(stop * _FRAMES)
    part = torch.zeros_like(strength)
    part[first:last] = strength[first:last] - strength[first:last].mean()
    return _comb(part, torch.tensor([tempo], dtype=torch.float64))[1].item()


def _comb(strength: Tensor, tempi: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the onsets under a comb of two harmonics, at the best phase of each tempo.

    Args:
        strength: Onsets without their mean, ``(frames,)``.
        tempi: Beats per minute, ``(n,)``.

    Returns:
        The sums, and the positions of the beats in the beat from 0 to 1, both ``(n,)``.
    """
    time = (torch.arange(len(strength), dtype=torch.float64) + 0.5) / _FRAMES
    angle = 2 * math.pi * time * tempi[:, None] / 60
    first, second = ((strength * torch.exp(-1j * n * angle)).sum(1) for n in (1, 2))
    candidates = torch.arange(_PHASES, dtype=torch.float64) / _PHASES
    turn = torch.exp(2j * math.pi * candidates)
    sums = (first[:, None] * turn).real + _SECOND_HARMONIC * (second[:, None] * turn**2).real
    value, index = sums.max(dim=1)
    return value, candidates[index]
