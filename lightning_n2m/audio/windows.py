"""Overlapped windows: process long signals in bounded memory, with networks trained on crops."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_n2m.errors import InputError
from lightning_n2m.integers import ceil_div

_LONG, _OVERLAP = 32, 1  # length and overlap of the windows of `piecewise`, in seconds


def window_starts(length: int, window: int, overlap: int, multiple: int = 1) -> list[int]:
    """Starts of windows that cover ``length``: evenly spread, with at least ``overlap``.

    Every start is a multiple of ``multiple``. The last window ends at ``length``, or less than ``multiple``
    after it.

    Raises:
        InputError: If the advance of a window, its length without the overlap, is below ``multiple``.
    """
    if length <= window:
        return [0]
    # In units of the grid: rounding the starts to the grid afterwards could leave gaps.
    advance = (window - overlap) // multiple
    if advance < 1:
        raise InputError(
            f"Windows of {window} samples that overlap by {overlap} cannot advance on a grid of {multiple}; "
            "choose a smaller overlap or longer windows."
        )
    last = ceil_div(length - window, multiple)
    count = ceil_div(last, advance)
    return [i * last // count * multiple for i in range(count + 1)]


def fade(window: int, overlap: int) -> Tensor:
    """Weights of the samples of a window ``(window,)``: they rise and fall linearly over the overlap."""
    position = torch.arange(window) + 0.5
    return torch.minimum(position, window - position).div(max(overlap, 1)).clamp(max=1.0)


def overlapped(
    function: Callable[[int, int], Tensor], length: int, window: int, overlap: int, multiple: int = 1
) -> Tensor:
    """Evaluate ``function(start, stop)`` on windows and cross-fade the results ``(b, c, stop - start)``.

    Args:
        function: Called for each window; the last one may be shorter by less than ``multiple``.
        length: Length of the signal.
        window: Length of a window.
        overlap: Smallest overlap of two windows.
        multiple: Starts of windows are multiples of it.

    Returns:
        ``(b, c, length)``.

    Raises:
        InputError: If windows cannot advance, as in `window_starts`.
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
    """`overlapped` in windows of 32 s, for functions whose memory is a multiple of the signal's."""
    return overlapped(function, length, _LONG * sample_rate, _OVERLAP * sample_rate, multiple)
