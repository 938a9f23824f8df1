"""Overlapped windows: long signals through what was trained on crops, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def window_starts(length: int, window: int, overlap: int, multiple: int = 1) -> list[int]:
    """Where windows begin that cover ``length``: evenly spread, overlapping at least ``overlap``.

    Every start is a multiple of ``multiple``; the last window ends at the end, up to that grid.
    """
    if length <= window:
        return [0]
    count = math.ceil((length - overlap) / (window - overlap))
    step = (length - window) / (count - 1)
    return [math.floor(i * step / multiple) * multiple for i in range(count - 1)] + [
        math.ceil((length - window) / multiple) * multiple
    ]


def fade(window: int, overlap: int) -> Tensor:
    """Weight of a window's samples: a linear rise and fall over the overlap, ``(window,)``."""
    position = torch.arange(window) + 0.5
    return torch.minimum(position, window - position).div(max(overlap, 1)).clamp(max=1.0)


def overlapped(
    function: Callable[[int, int], Tensor], length: int, window: int, overlap: int, multiple: int = 1
) -> Tensor:
    """Evaluate ``function(start, stop)`` on windows and cross-fade the results ``(b, c, stop - start)``.

    Args:
        function: Called for each window; ``stop`` may lie beyond ``length`` only by less than ``multiple``.
        length: Length of the whole.
        window: Length of a window.
        overlap: Shortest overlap of two windows.
        multiple: Grid on which windows begin.

    Returns:
        ``(b, c, length)``.
    """
    starts = window_starts(length, window, overlap, multiple)
    if len(starts) == 1:
        return function(0, length)
    total: Tensor | None = None
    for start in starts:
        stop = min(start + window, length)
        part = function(start, stop)
        weight = fade(window, overlap)[: stop - start].to(part)
        if total is None:
            total = part.new_zeros(*part.shape[:-1], length)
            weights = part.new_zeros(length)
        total[..., start:stop] += part * weight
        weights[start:stop] += weight
    assert total is not None
    return total / weights
