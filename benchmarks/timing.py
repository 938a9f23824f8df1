"""Fair timing: what is compared takes turns, and the median of each counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def medians(*works: Callable[[], object], rounds: int = 5, warmups: int = 1) -> list[float]:
    """Median seconds of each work.

    They run in turns, so that a machine that is slow for a while is slow for all of them.

    Args:
        works: What to time.
        rounds: How often each is timed.
        warmups: How often each runs before that.
    """
    took: list[list[float]] = [[] for _ in works]
    for number in range(warmups + rounds):
        for work, seconds in zip(works, took, strict=True):
            began = time.perf_counter()
            work()
            if number >= warmups:
                seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in took]
