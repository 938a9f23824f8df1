"""Files that are whole or not there: written aside, then renamed."""

from __future__ import annotations

import os
from pathlib import Path


def sweep(folder: Path) -> None:
    """Remove what a killed job left half written in a folder."""
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)


def write_aside(path: Path, data: bytes | str) -> None:
    """Write a file that appears under its name only when it is complete.

    Args:
        path: Where the file is to be; its folder must exist.
        data: Its content; text is written as UTF-8.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(data.encode() if isinstance(data, str) else data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
