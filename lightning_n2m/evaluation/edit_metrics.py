"""Metrics of edited music at its seams: loudness, beat, key, and windows for an embedding distance."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_n2m.audio.beats import beat_phase
from lightning_n2m.audio.chroma import mean_chroma
from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.audio.resample import resample

SEAM_SECONDS = 2.4  # of a window over a seam: one patch of the embedder aiSFX (2.3 s)
_MEL = MelSettings()


def seam_window(audio: Tensor, rate: int, seam: float, seconds: float = SEAM_SECONDS) -> Tensor:
    """The samples of ``(1, t)`` around a seam, ``(1, seconds * rate)``.

    Args:
        audio: Audio.
        rate: Its rate in Hz.
        seam: Time of the seam in seconds.
        seconds: Length of the window.
    """
    start = round((seam - seconds / 2) * rate)
    return audio[:, max(0, start) : max(0, start) + round(seconds * rate)]


def loudness_jump(audio: Tensor, rate: int, seam: float, seconds: float = 1.0) -> float:
    """Difference of the levels after and before a seam, in dB without its sign.

    Args:
        audio: ``(1, t)``.
        rate: Its rate in Hz.
        seam: Time of the seam in seconds.
        seconds: Length of the audio on either side that is compared.
    """
    middle, length = round(seam * rate), round(seconds * rate)
    before, after = (
        part.square().mean().clamp(min=1e-10).log10().item() * 10
        for part in (audio[:, max(0, middle - length) : middle], audio[:, middle : middle + length])
    )
    return abs(after - before)


def beat_phase_error(audio: Tensor, rate: int, tempo: float, seam: float, seconds: float = 5.0) -> float:
    """Difference of the beats after and before a seam, in seconds without its sign.

    Args:
        audio: ``(1, t)``.
        rate: Its rate in Hz.
        tempo: Beats per minute of the recording.
        seam: Time of the seam in seconds.
        seconds: Length of the audio on either side that is compared.
    """
    before = beat_phase(audio, rate, tempo, max(0.0, seam - seconds), seam)
    after = beat_phase(audio, rate, tempo, seam, seam + seconds)
    difference = (after - before + 0.5) % 1 - 0.5
    return abs(difference) * 60 / tempo


def chroma_correlation(first: Tensor, second: Tensor, rate: int) -> float:
    """Pearson correlation of the mean chroma of two parts ``(1, t)``."""
    pair = torch.stack([mean_chroma(first, rate), mean_chroma(second, rate)])
    return torch.corrcoef(pair)[0, 1].item()


def similarity(first: Tensor, second: Tensor, rate: int) -> float:
    """Pearson correlation of the log-mels of two recordings ``(1, t)`` of one length."""
    mels = [
        log_mel(resample(audio, rate, _MEL.sample_rate)[None], _MEL).flatten() for audio in (first, second)
    ]
    return torch.corrcoef(torch.stack(mels))[0, 1].item()
