"""Known regions of the target as a condition: a generator that trains with them continues and repairs music.

Deviation: the paper names completion and modification as future work (section 6). The condition is the known
part of the target and its mask, as in Palette (Saharia et al. 2022) and later generators of music.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_n2m.errors import InputError, check_range
from lightning_n2m.seeding import PerSampleGenerator


@dataclass(frozen=True)
class KnownRegions:
    """What part of a training example is known to the network.

    In the share of samples that the three probabilities leave, nothing is known: the network remains a
    generator of whole clips.

    Args:
        prefix: Probability that the beginning is known, for continuation.
        suffix: Probability that the end is known, for music before a recording.
        outside: Probability that all but one span is known, for repair.
        shortest: Shortest unknown part, as a share of the example.
        longest: Longest unknown part, as a share of the example.
    """

    prefix: float = 0.35
    suffix: float = 0.1
    outside: float = 0.3
    shortest: float = 0.1
    longest: float = 0.9

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            InputError: if a share is not in [0, 1], or the probabilities add up to more than 1.
        """
        for name in ("prefix", "suffix", "outside", "shortest", "longest"):
            check_range(f"known_regions.{name}", getattr(self, name), 0, 1)
        check_range("known_regions.shortest", self.shortest, 0, self.longest)
        if self.prefix + self.suffix + self.outside > 1 + 1e-9:
            raise InputError(
                "known_regions.prefix, suffix and outside add up to more than 1; lower one of them."
            )

    def draw(self, length: int, rng: PerSampleGenerator) -> Tensor:
        """Random masks ``(b, 1, length)``: 1 where the target is known, 0 elsewhere.

        Args:
            length: Steps of the target.
            rng: Source of three draws of each sample.
        """
        kind, share, place = (rng.uniform()[:, None] for _ in range(3))
        unknown = (self.shortest + (self.longest - self.shortest) * share) * length
        is_prefix = kind < self.prefix
        is_suffix = ~is_prefix & (kind < self.prefix + self.suffix)
        is_outside = ~is_prefix & ~is_suffix & (kind < self.prefix + self.suffix + self.outside)
        # First step of the unknown part: after the prefix, 0 before a suffix, anywhere for a span.
        start = torch.where(
            is_prefix, length - unknown, torch.where(is_outside, place * (length - unknown), 0)
        )
        stop = torch.where(is_prefix | is_suffix | is_outside, start + unknown, length)
        position = torch.arange(length, device=kind.device) + 0.5
        return ((position < start) | (position >= stop)).float()[:, None]


def known_input(x0: Tensor, mask: Tensor) -> Tensor:
    """Input of the network: the known part of ``x0`` ``(b, c, t)``, zero elsewhere, and the mask.

    Args:
        x0: Target in the diffusion's space.
        mask: 1 where it is known, ``(b, 1, t)``.

    Returns:
        ``(b, c + 1, t)``.
    """
    mask = mask.to(x0)
    return torch.cat([torch.where(mask > 0, x0, 0), mask.expand(len(x0), -1, -1)], dim=1)
