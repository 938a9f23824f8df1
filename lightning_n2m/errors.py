"""Errors that end a command with one sentence instead of a traceback."""

from __future__ import annotations


class InputError(Exception):
    """Wrong input: the message is one sentence that names the file or key and the remedy.

    Command lines print the message alone on standard error and exit with code 2. It is no
    ``ValueError``: those jsonargparse takes for a type that does not fit, and rewords.
    """


class TrainingFailure(Exception):
    """A training that cannot go on as it is: the message says in one sentence why and what helps."""


class Interrupted(Exception):
    """A training that a signal ended, after it had saved its state.

    Args:
        signal: Number of the signal.
        message: One sentence: where it stopped and how it goes on.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal
