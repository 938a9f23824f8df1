"""Benchmarks of this folder by name."""

from __future__ import annotations

import importlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.result import Result

FOLDER = Path(__file__).parent


def names(folder: Path = FOLDER) -> list[str]:
    """Names of all benchmarks: modules with a function ``measure() -> Iterable[Result]``."""
    files = sorted(folder.glob("*.py"))
    return [file.stem for file in files if "\ndef measure()" in file.read_text(encoding="utf-8")]


def run(name: str) -> list[Result]:
    """All results of one benchmark, from its own process, so that the next starts without its memory."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measure, name).result()


def _measure(name: str) -> list[Result]:
    return list(importlib.import_module(f"benchmarks.{name}").measure())
