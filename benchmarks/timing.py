"""Timing of functions that take turns; the result is the median of each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def medians(*works: Callable[[], object], rounds: int = 5, warmups: int = 1) -> list[float]:
    """Median seconds of each function.

    They run in turns, so that other work on the machine slows down all of them.

    Args:
        works: Functions to time.
        rounds: Number of timed runs of each.
        warmups: Number of earlier runs of each that are not timed.
    """
    times: list[list[float]] = [[] for _ in works]
    for number in range(warmups + rounds):
        for work, seconds in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            if number >= warmups:
                seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in times]
