"""argparse for the commands that are not LightningCLI's: wrong options become an `InputError`."""

from __future__ import annotations

import argparse
from typing import NoReturn

from lightning_n2m.errors import InputError


class CommandParser(argparse.ArgumentParser):
    """Parser of one command, with exact option names.

    Args:
        command: Name of the command.
        description: First lines of its help.
    """

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            prog=f"python -m lightning_n2m {command}",
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.command = command

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.command}: {message}; '{self.prog} --help' lists its options.")
