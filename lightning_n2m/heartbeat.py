"""A line on standard error whenever a program has printed none for 15 s: imports alone can take longer."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST = 1.5  # seconds of silence before the first line
INTERVAL = 15.0  # seconds of silence before each further line


class _Heartbeat:
    """Prints a line after a time of silence, in a thread of its own.

    Args:
        program: Program and command, which the line names while no other line is set.
        first: Seconds before the first line.
    """

    def __init__(self, program: str, first: float) -> None:
        self.line: Callable[[], str] = lambda: f"{program}: loading ..."
        self.default: Callable[[], str] = lambda: f"{program}: working ..."
        self.interval = first
        self.pauses = 0
        self._last = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def touch(self) -> None:
        """Count silence from now."""
        self._last = time.monotonic()

    def _run(self) -> None:
        while not self._stopped.wait(min(FIRST, INTERVAL) / 3):
            if not self.pauses and time.monotonic() - self._last >= self.interval:
                self.touch()
                print(self.line(), file=sys.stderr, flush=True)
                self.interval = max(self.interval, INTERVAL)


_running: _Heartbeat | None = None


@contextmanager
def heartbeat(program: str, first: float | None = None) -> Iterator[None]:
    """Print a line after each time of silence until the block ends.

    Args:
        program: Program and command, such as ``n2m fit``.
        first: Seconds of silence before the first line; `FIRST` when null.
    """
    global _running
    before, _running = _running, _Heartbeat(program, FIRST if first is None else first)
    _running.start()
    try:
        yield
    finally:
        _running.stop()
        _running = before


def line_printed() -> None:
    """Count silence from now: a line has been printed."""
    if _running is not None:
        _running.touch()


def set_line(line: Callable[[], str] | None, interval: float | None = None) -> None:
    """Choose what is printed after a time of silence.

    Args:
        line: Returns the line, for instance a progress with its end time; null for one that names the
            command.
        interval: Seconds of silence before each line; `INTERVAL` when null.
    """
    if _running is not None:
        _running.line = line or _running.default
        _running.interval = INTERVAL if interval is None else interval


@contextmanager
def paused() -> Iterator[None]:
    """Print nothing until the block ends: it shows its progress itself, or a bar that a line would break."""
    beat = _running
    if beat is None:
        yield
        return
    beat.pauses += 1
    try:
        yield
    finally:
        beat.pauses -= 1
        beat.line, beat.interval = beat.default, INTERVAL
        beat.touch()
