"""Step lists: the times at which the sampler evaluates the network (table 7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_n2m.errors import InputError


@dataclass(frozen=True)
class Segment:
    """``steps`` equal steps over a ``span`` of the time axis."""

    span: float
    steps: int


def _segments(*pairs: tuple[float, int]) -> tuple[Segment, ...]:
    return tuple(Segment(span, steps) for span, steps in pairs)


_FRONT_HEAVY = _segments((0.05, 400), (0.15, 200), (0.30, 150), (0.50, 50))
_SPECTROGRAM_FRONT = _segments((0.01, 400), (0.04, 800), (0.15, 400), (0.30, 300), (0.50, 100))

# In order from t = 0, as in the paper. Front-heavy: many small steps near the data.
STEP_LISTS: dict[str, tuple[Segment, ...]] = {
    "uniform": _segments((1.0, 1000)),
    "waveform_generator": _segments((0.01, 200), (0.04, 400), (0.15, 200), (0.30, 150), (0.50, 50)),
    "waveform_cascader": _FRONT_HEAVY,
    "spectrogram_generator": _segments((0.30, 50), (0.30, 150), (0.20, 300), (0.20, 500)),
    "spectrogram_generator_front_heavy": _SPECTROGRAM_FRONT,
    "spectrogram_generator_back_heavy": _SPECTROGRAM_FRONT[::-1],
    "spectrogram_vocoder": _segments((0.05, 50), (0.15, 30), (0.30, 15), (0.50, 5)),
    "super_resolution": _FRONT_HEAVY,
}


def step_times(name: str, total: int | None = None, reverse: bool = False) -> Tensor:
    """Times of a sampler, from 1 down to 0.

    Args:
        name: A row of table 7 by the name of its stage, or ``uniform``.
        total: Number of steps; null for the paper's. Each segment keeps its share, by largest remainders, and
            has at least one step.
        reverse: Order the segments from t = 1, which turns front-heavy into back-heavy.

    Returns:
        ``(total + 1,)`` in float64, strictly decreasing from 1 to 0.

    Raises:
        InputError: If there is no such list, or ``total`` is below its number of segments.
    """
    segments = _step_list(name, reverse)
    counts = _share(segments, total)
    times = [torch.zeros(1, dtype=torch.float64)]
    start = 0.0
    for segment, steps in zip(segments, counts, strict=True):
        offsets = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        times.append(start + segment.span * offsets)
        start += segment.span
    rising = torch.cat(times)
    rising[-1] = 1.0  # the sum of the spans is 1 up to rounding errors
    return rising.flip(0)


def times_at(name: str, positions: Tensor, reverse: bool = False) -> Tensor:
    """Times at positions in a step list: the list without its discretisation.

    Equal steps of the paper's list are equal distances of position, so that a sampler of any number of steps,
    also fewer than the list has segments, keeps the shares of its segments.

    Args:
        name: A row of table 7 by the name of its stage, or ``uniform``.
        positions: From 0, data, to 1, noise; of any shape.
        reverse: As of `step_times`.

    Returns:
        Times of the same shape, in float64; 0 and 1 at positions 0 and 1.

    Raises:
        InputError: if there is no such list.
    """
    segments = _step_list(name, reverse)
    total = sum(segment.steps for segment in segments)
    times, before = torch.zeros_like(positions, dtype=torch.float64), 0
    for segment in segments:
        within = (positions.double() * total - before) / segment.steps
        times += segment.span * within.clamp(0, 1)
        before += segment.steps
    return times.clamp(max=1)


def _step_list(name: str, reverse: bool) -> tuple[Segment, ...]:
    """Segments of a list in order from t = 0."""
    if name not in STEP_LISTS:
        raise InputError(f"There is no step list '{name}'; choose one of {', '.join(STEP_LISTS)}.")
    return STEP_LISTS[name][::-1] if reverse else STEP_LISTS[name]


def _share(segments: tuple[Segment, ...], total: int | None) -> list[int]:
    """Number of steps of each segment, in proportion to the paper's numbers."""
    paper_steps = [segment.steps for segment in segments]
    if total is None:
        return paper_steps
    if total < len(segments):
        raise InputError(
            f"This step list needs at least {len(segments)} steps, not {total}; raise num_steps."
        )
    exact = [
        1 + (total - len(paper_steps)) * (steps - 1) / max(1, sum(paper_steps) - len(paper_steps))
        for steps in paper_steps
    ]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts
