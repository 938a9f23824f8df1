"""Embeddings of tempo, tonic and mode: optional inputs of the network besides the text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.errors import InputError
from lightning_n2m.networks.conditions import Conditions

NumberName = Literal["tempo", "tonic", "mode", "beat_phase"]
NUMBERS: tuple[NumberName, ...] = ("tempo", "tonic", "mode", "beat_phase")
ABSENT = -1  # in place of a tonic or a mode that is not known; NaN in place of a tempo
SLOWEST, FASTEST = 20.0, 400.0  # tempi in beats per minute beyond which the embedding no longer changes
_REFERENCE = 120.0  # beats per minute
_WAVES = 7  # the fastest wave has a period of an eighth of an octave, 9 % of the tempo


class TempoEmbedding(nn.Module):
    """Embedding of a tempo; exactly zero where it is absent, and for every tempo before training.

    Tempi are compared as ratios, so that the waves are functions of the logarithm of the tempo.

    Args:
        width: Width of the vector, the base dimension of the network.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * _WAVES + 1, width, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, tempo: Tensor) -> Tensor:
        """Beats per minute ``(b,)``, NaN where absent, to ``(b, width)``."""
        is_known = tempo.isfinite()
        octaves = torch.log2(torch.where(is_known, tempo, _REFERENCE).clamp(SLOWEST, FASTEST) / _REFERENCE)
        frequencies = 2.0 ** torch.arange(_WAVES, device=tempo.device)
        angles = octaves[:, None].float() * (math.pi / 4) * frequencies
        waves = torch.cat([angles.sin(), angles.cos(), torch.ones_like(angles[:, :1])], dim=-1)
        return self.linear((waves * is_known[:, None]).to(self.linear.weight.dtype))


class ClassEmbedding(nn.Module):
    """Embedding of a class; exactly zero where it is absent, and for every class before training.

    Args:
        classes: Number of classes.
        width: Width of the vector, the base dimension of the network.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(classes, width, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, index: Tensor) -> Tensor:
        """Classes ``(b,)``, `ABSENT` where absent, to ``(b, width)``."""
        classes = self.linear.in_features
        # One-hot vectors, which are zero where the class is absent.
        one_hot = F.one_hot(index.clamp(min=0), classes) * (index >= 0)[:, None]
        return self.linear(one_hot.to(self.linear.weight.dtype))


class NumberEmbedding(nn.Module):
    """Sum of the embeddings of the numbers that a network takes.

    Deviation: the paper's networks read tempo and key from the text only.

    Args:
        names: Which of tempo, tonic, mode and beat phase; the beat phase is a signal, see `BeatPhaseInput`.
        width: Base dimension of the network.

    Raises:
        InputError: if a name is unknown.
    """

    def __init__(self, names: Sequence[NumberName], width: int) -> None:
        super().__init__()
        for name in names:
            if name not in NUMBERS:
                raise InputError(f"network.numbers holds '{name}'; choose from {', '.join(NUMBERS)}.")
        self.names = tuple(names)
        self.tempo = TempoEmbedding(width) if "tempo" in names else None
        self.tonic = ClassEmbedding(12, width) if "tonic" in names else None
        self.mode = ClassEmbedding(2, width) if "mode" in names else None
        self.beat_phase = BeatPhaseInput(width) if "beat_phase" in names else None

    def forward(self, conditions: Conditions, embedding: Tensor) -> Tensor:
        """Add the embeddings of the numbers to ``(b, width)``; absent numbers leave it as it is."""
        for layer, value in (
            (self.tempo, conditions.tempo),
            (self.tonic, conditions.tonic),
            (self.mode, conditions.mode),
        ):
            if layer is not None and value is not None:
                embedding = embedding + layer(value)
        return embedding


class BeatPhaseInput(nn.Conv1d):
    """Convolution of the beat phase, whose output is added to that of the entry convolution.

    That is the same function as to stack the beat phase onto x_t, since a convolution is linear, but with
    parameters of its own: they start at zero, and other stacked signals do not move their positions.

    Args:
        width: Base dimension of the network.
    """

    def __init__(self, width: int) -> None:
        super().__init__(2, width, 3, padding=1, bias=False)
        nn.init.zeros_(self.weight)
