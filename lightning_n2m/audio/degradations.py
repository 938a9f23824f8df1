"""Degradations of known strength, by which distances are checked: noise and low-pass filters."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_n2m.seeding import derive_seed


def add_noise(audio: Tensor, snr: float, seed: int = 0) -> Tensor:
    """White noise on clips ``(b, 1, t)``, ``snr`` decibels below each clip's own power."""
    power = audio.square().mean(dim=-1, keepdim=True) * 10 ** (-snr / 10)
    return audio + power.sqrt() * _noise(audio, seed)


def white_noise(audio: Tensor, seed: int = 0) -> Tensor:
    """White noise with the power of each clip ``(b, 1, t)``."""
    return audio.square().mean(dim=-1, keepdim=True).sqrt() * _noise(audio, seed)


def low_pass(audio: Tensor, sample_rate: int, cutoff: float) -> Tensor:
    """Clips ``(b, 1, t)`` without frequencies above ``cutoff`` Hz."""
    spectrum = torch.fft.rfft(audio)
    frequencies = torch.fft.rfftfreq(audio.shape[-1], 1 / sample_rate, device=audio.device)
    return torch.fft.irfft(spectrum * (frequencies <= cutoff), n=audio.shape[-1])


def _noise(audio: Tensor, seed: int) -> Tensor:
    # Every clip gets the same noise in any batch.
    generator = torch.Generator().manual_seed(derive_seed(seed, "damage"))
    return torch.randn(audio.shape[-1], generator=generator).to(audio)
