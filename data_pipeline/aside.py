"""Files that are whole or not there: written aside, then renamed."""

from __future__ import annotations

from pathlib import Path

from lightning_n2m.storage import Location, is_url
from lightning_n2m.storage import write_aside as write_aside


def sweep(folder: Location) -> None:
    """Remove what a killed job left half written in a folder; object stores keep no halves."""
    if not is_url(folder):
        for path in Path(folder).glob(".*.part"):
            path.unlink(missing_ok=True)
