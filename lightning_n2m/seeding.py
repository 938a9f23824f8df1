"""Random numbers that depend on the sample, not on the rank, the batch or the time.

Every draw for a sample comes from a generator that is seeded by the sample's own number. So the same sample
gets the same noise on one process or on many, before and after a resume.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from any number of parts, the same on every machine."""
    text = " ".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class PerSampleGenerator:
    """One generator per sample: each row of a batch is drawn from its own generator.

    Args:
        seed: Seed of the run and the purpose, for example ``"0 train"``.
        numbers: The number of each sample of the batch.
        device: Where the draws are made.
    """

    def __init__(self, seed: object, numbers: Iterable[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generators = [
            torch.Generator(self.device).manual_seed(derive_seed(seed, int(number))) for number in numbers
        ]

    def __len__(self) -> int:
        return len(self.generators)

    def normal(self, *shape: int) -> Tensor:
        """Standard Gaussian noise, ``(b, *shape)``."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self.generators])

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """One uniform draw per sample, ``(b,)``."""
        draws = torch.stack([torch.rand((), generator=g, device=self.device) for g in self.generators])
        return low + (high - low) * draws
