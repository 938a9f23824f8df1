"""Ctrl-C while a program loads.

Packages such as NumPy do not survive an exception in the middle of their import: they raise another one
later, or drop it. Nothing is written before a command has been loaded, so that the process can just end.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


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
