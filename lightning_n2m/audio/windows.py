"""Overlapped windows: long signals through what was trained on crops, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_n2m.errors import InputError

_LONG, _OVERLAP = 32, 1  # seconds


def window_starts(length: int, window: int, overlap: int, multiple: int = 1) -> list[int]:
    """Where windows begin that cover ``length``: evenly spread, overlapping at least ``overlap``.

    Every start is a multiple of ``multiple``; the last window ends at the end, up to that grid.

    Raises:
        InputError: if a window's advance, what does not overlap, is shorter than the grid.
    """
    if length <= window:
        return [0]
    # All in steps of the grid: starts that are rounded to it afterwards can leave a hole.
    advance = (window - overlap) // multiple
    if advance < 1:
        raise InputError(
            f"Windows of {window} samples that overlap by {overlap} cannot advance on a grid of {multiple}; "
            "choose a smaller overlap or longer windows."
        )
    last = -(-(length - window) // multiple)
    count = -(-last // advance)
    return [i * last // count * multiple for i in range(count + 1)]


def fade(window: int, overlap: int) -> Tensor:
    """Weight of a window's samples: a linear rise and fall over the overlap, ``(window,)``."""
    position = torch.arange(window) + 0.5
    return torch.minimum(position, window - position).div(max(overlap, 1)).clamp(max=1.0)


def overlapped(
    function: Callable[[int, int], Tensor], length: int, window: int, overlap: int, multiple: int = 1
) -> Tensor:
    """Evaluate ``function(start, stop)`` on windows and cross-fade the results ``(b, c, stop - start)``.

    Args:
        function: Called for each window; the last one may be shorter by less than ``multiple``.
        length: Length of the whole.
        window: Length of a window.
        overlap: Shortest overlap of two windows.
        multiple: Grid on which windows begin.

    Returns:
        ``(b, c, length)``.

    Raises:
        InputError: if windows cannot advance, as in `window_starts`.
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
    return total.div_(weights)


def piecewise(
    function: Callable[[int, int], Tensor], length: int, sample_rate: int, multiple: int = 1
) -> Tensor:
    """`overlapped` in windows of 32 s, for what would take a multiple of a long piece's memory."""
    return overlapped(function, length, _LONG * sample_rate, _OVERLAP * sample_rate, multiple)
