"""How far a long job is: a bar with rate and end time on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Protocol

_EVERY = 30.0  # Seconds between two lines in a log.


class Report(Protocol):
    """Called after each finished unit with the amount of work that it held."""

    def __call__(self, amount: int = 1) -> None:
        """Count finished work."""


@contextmanager
def progress(doing: str, total: int, unit: str, done: int = 0) -> Iterator[Report]:
    """Show progress on standard error while the block runs.

    Args:
        doing: What is being done, for instance ``sharding``.
        total: Amount of work in all.
        unit: What is counted, for instance ``clips``.
        done: Amount that an earlier run finished already.
    """
    began = last = time.monotonic()
    now = done

    def state() -> str:
        took = time.monotonic() - began
        rate = (now - done) / took if took > 0 else 0.0
        ends = (
            f"ends {datetime.now() + timedelta(seconds=(total - now) / rate):%H:%M:%S}"
            if rate > 0
            else "ends ?"
        )
        return f"{60 * rate:.0f} {unit}/min, {ends if now < total else f'took {took:.0f} s'}"

    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(doing, total=total, completed=done, state="")

            def draw(amount: int = 1) -> None:
                nonlocal now
                now += amount
                bar.update(task, completed=now, state=state())

            yield draw
    else:

        def line(amount: int = 1) -> None:
            nonlocal now, last
            now += amount
            if now >= total or time.monotonic() - last >= _EVERY:
                last = time.monotonic()
                print(f"{doing}: {now}/{total} {unit}, {state()}", file=sys.stderr, flush=True)

        yield line
