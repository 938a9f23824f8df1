"""Draws the captions of a clip from the nearest ones, with probability inverse to their use (section 3.6)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence


def draw(seed: int, key: str, texts: Sequence[str], counts: Sequence[int], keep: int) -> list[int]:
    """Draw captions without replacement, each time with probability inverse to its count.

    Each caption gets an exponentially distributed waiting time whose mean is its count, and the captions with
    the shortest times are drawn. This has the same distribution as drawing one after the other (Efraimidis
    and Spirakis 2006). The time is a function of seed, clip and caption, so labels do not depend on order,
    blocks, workers or machine.

    Args:
        seed: Seed of the labelling.
        key: Identity of the clip.
        texts: The nearest captions.
        counts: How often each is among the nearest, over all clips; 1 or more.
        keep: Number of captions to draw.

    Returns:
        Positions of the drawn captions, in the order of the draw.
    """
    waits = [count * -math.log(_uniform(seed, key, text)) for text, count in zip(texts, counts, strict=True)]
    return sorted(range(len(texts)), key=lambda position: (waits[position], position))[:keep]


def _uniform(seed: int, key: str, text: str) -> float:
    """A uniform number in (0, 1): a hash of seed, clip and caption."""
    digest = hashlib.blake2b(f"{seed}\0{key}\0{text}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**64
