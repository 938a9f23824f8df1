"""Errors that stop a command with a one-line message instead of a traceback."""

from __future__ import annotations


class InputError(Exception):
    """Wrong input: a one-line message that names the file or key and the remedy.

    Commands print the message on standard error and exit with code 2. It is not a ``ValueError``:
    jsonargparse takes those for a type that does not match, and replaces their message.
    """


class TrainingFailure(Exception):
    """A training that cannot continue: the one-line message says why and what to do. Exit code 1."""


class Interrupted(Exception):
    """A training that a signal ended, after it had saved its state. Exit code 128 + signal.

    Args:
        signal: Number of the signal.
        message: One line: where it stopped and how to resume it.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a setting outside its range.

    Args:
        name: Full key of the setting.
        value: Its value.
        low: Smallest valid value.
        high: Largest valid value.

    Raises:
        InputError: if the value is outside the range, or NaN.
    """
    if not low <= value <= high:
        raise InputError(f"{name} is {value:g}; give a number from {low:g} to {high:g}.")
