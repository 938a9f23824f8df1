"""Progress of a long job: a bar with rate and end time on a terminal, a line every 15 s in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Protocol

from lightning_n2m import heartbeat
from lightning_n2m.interrupts import raise_on_interrupt

_FIRST_SECONDS = 2.0  # Seconds before the first line of a log.
_LINE_SECONDS = 15.0  # Seconds between two lines in a log.
_MAX_SECONDS = 1e9  # Longest time to the end that a date can show.


class Report(Protocol):
    """Called after each finished unit with the amount of work in it."""

    def __call__(self, amount: int = 1) -> None:
        """Count finished work."""


class _Counter:
    """Amount of finished work, its rate and its expected end."""

    def __init__(self, total: int, unit: str, done: int) -> None:
        self.total, self.unit, self.done = total, unit, done
        self.began, self.before = time.monotonic(), done

    def state(self) -> str:
        """Rate and end time, at most 40 characters for units of up to 12."""
        seconds = time.monotonic() - self.began
        rate = (self.done - self.before) / seconds if seconds > 0 else 0.0
        if self.done >= self.total:
            end = f"took {timedelta(seconds=round(seconds))}"
        elif rate > 0:
            now = datetime.now()
            ends = now + timedelta(seconds=min((self.total - self.done) / rate, _MAX_SECONDS))
            # Beyond today, the time alone would mislead.
            end = f"ends {ends:%H:%M:%S}" if ends.date() == now.date() else f"ends {ends:%d %b %H:%M}"
        else:
            end = "ends ?"
        per_minute = 60 * rate
        shown = f"{per_minute:.0f}" if per_minute >= 10 or per_minute == 0 else f"{per_minute:.1f}"
        return f"{shown} {self.unit}/min, {end}"


@contextmanager
def progress(doing: str, total: int, unit: str, done: int = 0) -> Iterator[Report]:
    """Show progress on standard error while the block runs.

    Args:
        doing: The activity, for instance ``sharding``.
        total: Total amount of work.
        unit: Unit of the amount, for instance ``clips``.
        done: Amount that an earlier run finished.
    """
    raise_on_interrupt()
    with heartbeat.paused():
        counter = _Counter(total, unit, done)
        if sys.stderr.isatty():
            yield from _bar(doing, counter)
        else:
            yield from _lines(doing, counter)


def _bar(doing: str, counter: _Counter) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column

    # Only the bar gives way on a narrow terminal.
    columns = (
        TextColumn(doing, markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task(doing, total=counter.total, completed=counter.done, state="")

        def report(amount: int = 1) -> None:
            counter.done += amount
            bar.update(task, completed=counter.done, state=counter.state())

        yield report


def _lines(doing: str, counter: _Counter) -> Iterator[Report]:
    """A line after 2 s, every 15 s whether or not a unit has finished, and at the end."""
    stopped = threading.Event()

    def print_line() -> None:
        line = f"{doing}: {counter.done}/{counter.total} {counter.unit}, {counter.state()}"
        print(line, file=sys.stderr, flush=True)

    def print_lines() -> None:
        interval = _FIRST_SECONDS
        while not stopped.wait(interval):
            print_line()
            interval = _LINE_SECONDS

    def report(amount: int = 1) -> None:
        counter.done += amount
        if counter.done >= counter.total:
            stopped.set()
            print_line()

    printer = threading.Thread(target=print_lines, daemon=True)
    printer.start()
    try:
        yield report
    finally:
        stopped.set()
        printer.join()
