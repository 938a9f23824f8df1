"""A measured comparison, and the file that keeps the last ones."""

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
TOLERANCE = 0.2  # Share by which a ratio may fall before it is called a regression.


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Args:
        question: What is asked, the same words in every run: rows are known by it and by the peer.
        ours: Our figure.
        peer: The peer's figure, of the same run.
        peer_name: Who the peer is, with its version where it has one.
        unit: Unit of both figures.
        target: Ratio that we want to reach; none where a figure is only watched.
        higher_is_better: Whether more of the unit is better (speed) or worse (seconds, memory).
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
            raise ValueError(f"{self.question}: {self.ours} and {self.peer} are no figures above 0")

    @property
    def ratio(self) -> float:
        """How many times better we are than the peer: above 1 is better, whatever the unit."""
        return self.ours / self.peer if self.higher_is_better else self.peer / self.ours

    def row(self) -> dict[str, Any]:
        """Its form in ``results.json``, to four digits."""
        figures = {"ours": self.ours, "peer": self.peer, "ratio": self.ratio}
        return {
            "question": self.question,
            "peer_name": self.peer_name,
            "unit": self.unit,
            "target": self.target,
            **{name: float(f"{value:.4g}") for name, value in figures.items()},
        }


def merge(rows: Sequence[dict[str, Any]], new: Iterable[Result]) -> list[dict[str, Any]]:
    """Put new results in the place of older ones of the same question and peer, sorted by question."""
    found = {(row["question"], row["peer_name"]): row for row in rows}
    found |= {(result.question, result.peer_name): result.row() for result in new}
    return [found[key] for key in sorted(found)]


def regressions(committed: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for each ratio that is more than 20 % worse than the committed one."""
    before = {(row["question"], row["peer_name"]): row["ratio"] for row in committed}
    return [
        f"{row['question']}: {row['ratio']:.3g} times {row['peer_name']}, but it was {old:.3g}."
        for row in rows
        if (old := before.get((row["question"], row["peer_name"]))) is not None
        and row["ratio"] < (1 - TOLERANCE) * old
    ]


def read(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The rows of a file; none when it is not there yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def read_committed(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The rows that were committed, which a run must not overwrite; the file's own outside of git."""
    show = ["git", "show", f"HEAD:./{path.name}"]
    try:
        found = subprocess.run(show, cwd=path.parent, capture_output=True, text=True)
    except FileNotFoundError:
        return read(path)
    return json.loads(found.stdout) if found.returncode == 0 else read(path)


def write(rows: Sequence[dict[str, Any]], path: Path = RESULTS) -> None:
    """Write the rows, one a line."""
    lines = ",\n ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    write_atomic(path, f"[{lines}]\n")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text in columns."""
    cells = [("question", "ours", "peer", "unit", "ratio", "target", "", "peer's name")]
    for row in rows:
        target = row["target"]
        met = "" if target is None else "met" if row["ratio"] >= target else "missed"
        figures = [f"{row[name]:.4g}" for name in ("ours", "peer")]
        wanted = "" if target is None else f"{target:g}"
        cells.append(
            (row["question"], *figures, row["unit"], f"{row['ratio']:.3g}", wanted, met, row["peer_name"])
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
