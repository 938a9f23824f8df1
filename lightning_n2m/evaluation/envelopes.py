"""Loudness envelopes, and whether clips of different prompts share one.

A cascade whose envelope follows the seed instead of the prompt gives clips of one seed the same course of
loudness. Similarity across prompts at one seed is reported beside similarity across seeds.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

_FRAME_SECONDS = 0.1
_FLOOR = 1e-4  # -80 dB, below which all is silence


def loudness_envelope(audio: Tensor, sample_rate: int) -> Tensor:
    """Level of frames of 0.1 s in dB: clips ``(b, 1, t)`` to ``(b, frames)``."""
    frame = round(_FRAME_SECONDS * sample_rate)
    frames = audio[:, 0, : audio.shape[-1] // frame * frame].float().unflatten(-1, (-1, frame))
    return 20 * frames.square().mean(dim=-1).sqrt().clamp(min=_FLOOR).log10()


def mean_correlation(envelopes: Tensor) -> float:
    """Mean Pearson correlation over all pairs of rows ``(n, frames)``; NaN for fewer than two rows."""
    n = len(envelopes)
    if n < 2:
        return math.nan
    rows = F.normalize(envelopes.double() - envelopes.double().mean(dim=1, keepdim=True), dim=1)
    products = rows @ rows.T
    return float((products.sum() - products.trace()) / (n * (n - 1)))
