"""The result of a generation, as it is written or evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class GeneratedClip:
    """One clip that a stage or a cascade generated.

    Args:
        audio: ``(1, t)``, nominally in [-1, 1].
        sample_rate: In Hz.
        name: Stem of a file name.
        record: Prompt, seed and settings as JSON values: one line of the manifest.
    """

    audio: Tensor
    sample_rate: int
    name: str
    record: dict[str, Any]
