"""A number with what it takes to believe it: where its scale begins and ends, how many clips, whose word."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_n2m.errors import InputError
from lightning_n2m.storage import write_atomic


@dataclass(frozen=True)
class MetricValue:
    """One measured number.

    Args:
        name: What was measured, unique in a list.
        value: The number.
        floor: The same measure at the lower end of the scale: chance, or for a distance, real music.
        ceiling: The same at the upper end: the judge's own on real music, or for a distance, noise.
        higher_is_better: Whether a larger value is better.
        n: ClipPairs (or patches, or prompts) that it rests on.
        judge: Who measured and how well it knows its trade: model, rate, seed, interval, accuracy.
        command: How to measure again.
    """

    name: str
    value: float
    floor: float
    ceiling: float
    higher_is_better: bool
    n: int
    judge: str
    command: str

    def share(self) -> float:
        """Where the value lies between floor and ceiling, 0 to 1 for what lies between."""
        width = self.ceiling - self.floor
        return (self.value - self.floor) / width if width else math.nan


def write_metrics(path: Path, figures: Sequence[MetricValue]) -> None:
    """Write a JSON list of figures; numbers are rounded to five digits, and what is not known is null."""
    rows = [{key: _rounded(value) for key, value in dataclasses.asdict(figure).items()} for figure in figures]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    write_atomic(path, f"[\n{lines}\n]\n")


def read_metrics(path: Path) -> list[MetricValue]:
    """Read what `write_metrics` wrote.

    Raises:
        InputError: if the file is no list of figures.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise TypeError("it begins with no bracket")
        return [_figure(row) for row in rows]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no list of figures ({error}); remove it and evaluate again.") from error


def _figure(row: dict[str, Any]) -> MetricValue:
    fields: dict[str, Any] = {key: math.nan if value is None else value for key, value in row.items()}
    return MetricValue(**fields)


def merge_metrics(path: Path, figures: Sequence[MetricValue]) -> None:
    """Put figures into a list on disk: those of the same name are replaced, the others stay."""
    known = {figure.name: figure for figure in read_metrics(path)} if path.is_file() else {}
    known |= {figure.name: figure for figure in figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_metrics(path, list(known.values()))


def _rounded(value: object) -> object:
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None
