"""Reads what a run logged to TensorBoard, in the old form of values and in that of tensors."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def board(run: Path) -> EventAccumulator:
    """All events of a run."""
    kinds = ("scalars", "audio", "images", "tensors")
    events = EventAccumulator(str(run), size_guidance=dict.fromkeys(kinds, 0))
    events.Reload()
    return events


def tags(run: Path) -> dict[str, set[str]]:
    """Tags by kind: ``scalars``, ``audio``, ``images``."""
    events = board(run)
    found = {kind: set(events.Tags()[kind]) for kind in ("scalars", "audio", "images")}
    for tag in events.Tags()["tensors"]:
        plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
        found.setdefault(plugin, set()).add(tag)
    return found


def scalars(run: Path, tag: str) -> dict[int, float]:
    """Values of one curve by step; of a step that was logged twice, the later value."""
    events = board(run)
    if tag in events.Tags()["scalars"]:
        return {event.step: event.value for event in events.Scalars(tag)}
    return {event.step: event.tensor_proto.float_val[0] for event in events.Tensors(tag)}
