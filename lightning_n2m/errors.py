"""Errors that stop a command with a one-line message instead of a traceback."""

from __future__ import annotations

import unicodedata

# Control, format (with the marks that reverse the direction of text), surrogate, and line and paragraph
# separators: characters that move the cursor, change colours or hide text when a terminal prints them.
_NOT_PRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: object) -> str:
    """Text that a terminal shows as it is: control characters become escapes, backslash and hex digits.

    Use it for every file name, title or other foreign text that a command prints.
    """
    return "".join(
        character.encode("unicode_escape", "backslashreplace").decode()
        if unicodedata.category(character) in _NOT_PRINTABLE
        else character
        for character in str(text)
    )


class InputError(Exception):
    """Wrong input: a one-line message that names the file or key and the remedy.

    Commands print the message on standard error and exit with code 2. It is not a ``ValueError``:
    jsonargparse takes those for a type that does not match, and replaces their message. Control
    characters in the message, which file names may hold, are escaped.

    Args:
        message: The message.
    """

    def __init__(self, message: object = "") -> None:
        text = str(message)
        if "Original Traceback" in text:
            # The loader raises the error of a worker again, with the worker's traceback in front of it.
            text = text.strip().splitlines()[-1].removeprefix(f"{__name__}.InputError: ")
        super().__init__(printable(text))


class TrainingFailure(Exception):
    """A training that cannot continue: the one-line message says why and what to do. Exit code 1."""


class Interrupted(BaseException):
    """The end of a command by a signal. Exit code 128 + signal.

    It is no `Exception`, as `KeyboardInterrupt` is none: it may arrive while a model is loaded, where every
    exception means that the file is damaged.

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
