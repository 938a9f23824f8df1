"""A measured value with its context: bounds of its scale, number of clips, evaluation model, command."""

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

# Keys and names that earlier versions wrote.
_OLD_KEYS = {"floor": "lower_bound", "ceiling": "upper_bound", "judge": "evaluator"}  # prose: allow
_OLD_NAMES = {
    ", real + noise": ", reference + noise",
    "instrument families heard, of those heard in the real clip": (  # prose: allow
        "instrument families of the reference"
    ),
    "drums present or absent as asked": "drums present or absent as requested",  # prose: allow
    "genre in the judge's top 3": "genre in the top 3",  # prose: allow
    "tempo within 8 %, octaves forgiven": "tempo within 8 %, up to octaves",
    "voices where asked for, AUC": "voices where requested, AUC",  # prose: allow
    " alone, ": " on ground-truth input, ",
}


@dataclass(frozen=True)
class MetricValue:
    """One measured value.

    Args:
        name: What was measured, unique in a list.
        value: The value.
        lower_bound: The same measure at the lower end of its scale: chance level, or for a distance, that of
            reference recordings.
        upper_bound: The same at the upper end: reference recordings, or for a distance, noise.
        higher_is_better: Whether a larger value is better.
        n: Number of clips (or patches, or prompts) that it was computed from.
        evaluator: Evaluation model or method, with sample rate, seed, interval and its own accuracy.
        command: Command that measures it again.
    """

    name: str
    value: float
    lower_bound: float
    upper_bound: float
    higher_is_better: bool
    n: int
    evaluator: str
    command: str = ""

    def share(self) -> float:
        """Position of the value between lower bound (0) and upper bound (1)."""
        width = self.upper_bound - self.lower_bound
        return (self.value - self.lower_bound) / width if width else math.nan


def write_metrics(path: Path, metrics: Sequence[MetricValue]) -> None:
    """Write a JSON list of metric values, rounded to five digits; NaN and infinity become null."""
    rows = [{key: _rounded(value) for key, value in dataclasses.asdict(row).items()} for row in metrics]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    write_atomic(path, f"[\n{lines}\n]\n")


def read_metrics(path: Path) -> list[MetricValue]:
    """Read a file that `write_metrics` wrote, of this or an earlier version.

    Raises:
        InputError: if the file is not a list of metric values.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise TypeError("it is not a list")
        return [_parse_row(row) for row in rows]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} is not a list of metric values ({reason}); remove it and evaluate again."
        ) from error


def merge_metrics(path: Path, metrics: Sequence[MetricValue]) -> None:
    """Merge metric values into a file: those of the same name are replaced, the others stay."""
    by_name = {row.name: row for row in read_metrics(path)} if path.is_file() else {}
    by_name |= {row.name: row for row in metrics}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_metrics(path, list(by_name.values()))


def _parse_row(row: dict[str, Any]) -> MetricValue:
    fields = {_OLD_KEYS.get(key, key): value for key, value in row.items()}
    for old, new in _OLD_NAMES.items():
        if isinstance(fields.get("name"), str):
            fields["name"] = fields["name"].replace(old, new)
    for key in ("value", "lower_bound", "upper_bound"):
        fields[key] = _number(fields[key], key) if key in fields else math.nan
    for key, kind in (
        ("name", str),
        ("evaluator", str),
        ("command", str),
        ("n", int),
        ("higher_is_better", bool),
    ):
        if not isinstance(fields.get(key), kind):
            raise TypeError(f"'{key}' is missing or not {kind.__name__}")
    return MetricValue(**fields)


def _number(value: Any, key: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"'{key}' is not a number")
    return float(value)


def _rounded(value: object) -> object:
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None
