"""Metrics of edited music at its seams: loudness, beat, key, and windows for an embedding distance."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_n2m.audio.beats import beat_phase
from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.audio.resample import resample

SEAM_SECONDS = 2.4  # of a window over a seam: one patch of the embedder aiSFX (2.3 s)
_MEL = MelSettings()
_A4, _OCTAVES = 440.0, (110.0, 1760.0)


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


def mean_chroma(audio: Tensor, rate: int) -> Tensor:
    """Energy of the twelve pitch classes of ``(1, t)`` between 110 and 1760 Hz, ``(12,)``."""
    size = 1 << (round(rate * 0.37) - 1).bit_length()  # resolution of about 3 Hz: semitones from 110 Hz on
    length = max(size, audio.shape[-1])
    padded = torch.nn.functional.pad(audio[0], (0, length - audio.shape[-1]))
    power = torch.stft(padded, size, size // 4, window=torch.hann_window(size), return_complex=True).abs()
    frequency = torch.arange(size // 2 + 1) * rate / size
    pitch = 12 * torch.log2(frequency.clamp(min=1) / _A4)
    inside = (frequency >= _OCTAVES[0]) & (frequency <= _OCTAVES[1])
    nearest = pitch.round()
    # A bin counts for the nearest pitch, less the further it lies from it.
    weight = (1 - 2 * (pitch - nearest).abs()).clamp(min=0) * inside
    chroma = torch.zeros(12)
    return chroma.index_add_(0, (nearest.long() % 12), weight * power.sum(1))


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
