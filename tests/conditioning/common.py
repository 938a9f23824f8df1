"""The conditioners of the stages, and tones as their input."""

from __future__ import annotations

import math

import torch

from lightning_n2m.audio.mel import MelSettings
from lightning_n2m.conditioning.conditioner import Augmentation
from lightning_n2m.conditioning.lowres import LowResolution
from lightning_n2m.conditioning.spectrogram import Spectrogram

CASCADER = LowResolution(3200, 16_000, Augmentation(t_max=0.5, blur_std=(0.1, 5.0)))
SUPER_RESOLUTION = LowResolution(16_000, 24_000, Augmentation())
VOCODER = Spectrogram(MelSettings(), Augmentation(blur_std=(0.2, 1.0)))


def tones(rate, time, frequencies=(70, 440.5, 1320)):
    t = torch.arange(time, dtype=torch.float64) / rate
    return sum(0.3 * torch.sin(2 * math.pi * f * t + f) for f in frequencies).float()[None, None]
