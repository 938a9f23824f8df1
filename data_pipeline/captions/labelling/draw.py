"""Which of the nearest captions a clip keeps: drawn with probability inverse to their use (section 3.6)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence


def draw(seed: int, key: str, texts: Sequence[str], counts: Sequence[int], keep: int) -> list[int]:
    """Draw captions without replacement, each time with probability inverse to its count.

    Every caption waits for a time that is exponentially distributed with a mean of its count, and the first
    ones win: that is the law of drawing one after the other (Efraimidis and Spirakis 2006). The time follows
    from seed, clip and caption alone, so a labelling depends on no order, block, worker or machine.

    Args:
        seed: Seed of the labelling.
        key: Identity of the clip.
        texts: The nearest captions.
        counts: How often each is among the nearest, over all clips; 1 or more.
        keep: How many to draw.

    Returns:
        Positions of the captions that were drawn, in the order of the draw.
    """
    waits = [count * -math.log(_uniform(seed, key, text)) for text, count in zip(texts, counts, strict=True)]
    return sorted(range(len(texts)), key=lambda position: (waits[position], position))[:keep]


def _uniform(seed: int, key: str, text: str) -> float:
    """A number in (0, 1) that looks random and is always the same."""
    digest = hashlib.blake2b(f"{seed}\0{key}\0{text}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**64
