"""Reads what a run logged to TensorBoard."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def board(run: Path) -> EventAccumulator:
    """All events of a run."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "audio": 0, "images": 0})
    events.Reload()
    return events


def scalars(run: Path, tag: str) -> dict[int, float]:
    """Values of one curve by step; of a step that was logged twice, the later value."""
    return {event.step: event.value for event in board(run).Scalars(tag)}
