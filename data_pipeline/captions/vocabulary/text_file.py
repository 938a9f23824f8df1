"""Reads text files of users: bounded in size, regular files only, one-line errors."""

from __future__ import annotations

from pathlib import Path

from lightning_n2m.errors import InputError

MOST_BYTES = 4 << 30


def read_text(path: Path, remedy: str) -> str:
    """The content of a UTF-8 file, without a byte order mark.

    Args:
        path: The file.
        remedy: What to do if it cannot be read, for the message.

    Raises:
        InputError: if it is missing, no regular file, no UTF-8, or larger than 4 GiB.
    """
    try:
        # A FIFO or a device would block the read, or never end.
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file; {remedy}.")
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than {MOST_BYTES >> 30} GiB; {remedy}.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file in UTF-8"
        raise InputError(f"{path} cannot be read ({reason}); {remedy}.") from error
