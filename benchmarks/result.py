"""Measured comparisons, and the file that stores them."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_n2m.storage import write_atomic

RESULTS = Path(__file__).with_name("results.json")
TOLERANCE = 0.2  # a ratio that falls by more than this share is a regression


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Args:
        question: Name of the row, the same in every run: question and peer identify a row.
        ours: Value of this project.
        peer: Value of the peer, from the same run.
        peer_name: The peer, with its version.
        unit: Unit of both values.
        target: Ratio to reach; null where there is none.
        higher_is_better: Whether larger values are better (speed) or worse (seconds, memory).
    """

    question: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    target: float | None = None
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if not (0 < self.ours < math.inf and 0 < self.peer < math.inf):
            raise ValueError(f"{self.question}: {self.ours} and {self.peer} must be finite and above 0")

    @property
    def ratio(self) -> float:
        """Ratio to the peer: above 1 is better than the peer for every unit."""
        return self.ours / self.peer if self.higher_is_better else self.peer / self.ours

    def row(self) -> dict[str, Any]:
        """The row of ``results.json``, rounded to four digits."""
        values = {"ours": self.ours, "peer": self.peer, "ratio": self.ratio}
        return {
            "question": self.question,
            "peer_name": self.peer_name,
            "unit": self.unit,
            "target": self.target,
            **{name: float(f"{value:.4g}") for name, value in values.items()},
        }


def merge(rows: Sequence[dict[str, Any]], new: Iterable[Result]) -> list[dict[str, Any]]:
    """Replace older results of the same question and peer; sorted by question."""
    merged = {(row["question"], row["peer_name"]): row for row in rows}
    merged |= {(result.question, result.peer_name): result.row() for result in new}
    return [merged[key] for key in sorted(merged)]


def regressions(committed: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[str]:
    """A message for each ratio that is more than 20 % worse than the committed one."""
    before = {(row["question"], row["peer_name"]): row["ratio"] for row in committed}
    return [
        f"{row['question']}: {row['ratio']:.3g} times {row['peer_name']}, but it was {old:.3g}."
        for row in rows
        if (old := before.get((row["question"], row["peer_name"]))) is not None
        and row["ratio"] < (1 - TOLERANCE) * old
    ]


def read(path: Path = RESULTS) -> list[dict[str, Any]]:
    """Rows of a file; an empty list if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def read_committed(path: Path = RESULTS) -> list[dict[str, Any]]:
    """Rows of the last commit, which are not changed by a run; outside of git, those of the file."""
    show = ["git", "show", f"HEAD:./{path.name}"]
    try:
        process = subprocess.run(show, cwd=path.parent, capture_output=True, text=True)
    except FileNotFoundError:
        return read(path)
    return json.loads(process.stdout) if process.returncode == 0 else read(path)


def write(rows: Sequence[dict[str, Any]], path: Path = RESULTS) -> None:
    """Write the rows, one per line, atomically."""
    lines = ",\n ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    write_atomic(path, f"[{lines}]\n")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table in text columns."""
    cells = [("question", "ours", "peer", "unit", "ratio", "target", "", "peer's name")]
    for row in rows:
        target = row["target"]
        met = "" if target is None else "met" if row["ratio"] >= target else "missed"
        values = [f"{row[name]:.4g}" for name in ("ours", "peer")]
        target_text = "" if target is None else f"{target:g}"
        cells.append(
            (row["question"], *values, row["unit"], f"{row['ratio']:.3g}", target_text, met, row["peer_name"])
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
