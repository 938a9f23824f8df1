"""What prediction yields, for whoever writes or judges it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class GeneratedClip:
    """One clip that a stage or a cascade made.

    Args:
        audio: ``(1, t)``, nominally in [-1, 1].
        sample_rate: In Hz.
        name: Stem of a file name.
        record: How it was made, as JSON can hold it: one line of the manifest.
    """

    audio: Tensor
    sample_rate: int
    name: str
    record: dict[str, Any]
