"""Reading back what a run wrote for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def board(run: Path) -> EventAccumulator:
    """All that a run logged."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "audio": 0, "images": 0})
    events.Reload()
    return events


def scalars(run: Path, tag: str) -> dict[int, float]:
    """Values of one curve by step; where a step was logged twice, the later one."""
    return {event.step: event.value for event in board(run).Scalars(tag)}
