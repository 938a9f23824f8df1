"""Ctrl-C while a program loads, and signals while it samples.

Packages such as NumPy do not survive an exception in the middle of their import: they raise another one
later, or drop it. Nothing is written before a command has been loaded, so that the process can just end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lightning_n2m.errors import Interrupted


def _exit(number: int, frame: FrameType | None) -> None:
    print("Interrupted.", file=sys.stderr, flush=True)
    os._exit(128 + number)


def exit_on_interrupt() -> None:
    """Let Ctrl-C end the process with one line, without an exception."""
    signal.signal(signal.SIGINT, _exit)


def raise_on_interrupt() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, after `exit_on_interrupt`; other handlers stay."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def interrupted_by_signals(message: Callable[[], str]) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the block with one line.

    Without it, Lightning notes a SIGTERM for the end of a training step, which sampling and evaluation do
    not have.

    Args:
        message: Returns the line once a signal has arrived.

    Raises:
        Interrupted: on either signal.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number, message())

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
