"""A terminal of 80 columns for a program: a pseudo-terminal, and what its screen shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence

from tests.paths import ROOT

COLUMNS, ROWS = 80, 24
_CONTROL = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Screen:
    """The lines that a terminal shows, and how many characters it had to wrap into another line."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = [[]]
        self.row = self.column = self.wraps = 0

    def feed(self, text: str) -> None:
        """Write text with control sequences: carriage return, line feed, erase and cursor up."""
        place = 0
        while place < len(text):
            character = text[place]
            control = _CONTROL.match(text, place)
            if control:
                self._control(control[1], control[2])
                place = control.end()
                continue
            place += 1
            if character == "\r":
                self.column = 0
            elif character == "\n":
                self._down()
            elif character.isprintable():
                self._write(character)

    def text(self) -> list[str]:
        """Lines without trailing spaces; empty ones are skipped."""
        shown = ["".join(line).rstrip() for line in self.lines]
        return [line for line in shown if line]

    def _write(self, character: str) -> None:
        if self.column >= COLUMNS:
            self.wraps += 1
            self.column = 0
            self._down()
        line = self.lines[self.row]
        line.extend(" " * (self.column + 1 - len(line)))
        line[self.column] = character
        self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def _control(self, argument: str, kind: str) -> None:
        if kind == "A":
            self.row = max(0, self.row - int(argument or 1))
        elif kind == "K":
            self.lines[self.row] = [] if argument == "2" else self.lines[self.row][: self.column]


def open_terminal() -> tuple[int, int]:
    """A pseudo-terminal of 80 columns: descriptors of its two ends, the program's last."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    return ours, theirs


def run_in_terminal(
    command: Sequence[str],
    environment: Mapping[str, str],
    interrupt_when: Callable[[str], bool] | None = None,
    seconds: float = 600,
) -> tuple[int, str]:
    """Run a program in a terminal of its own, from the root of the repository.

    Args:
        command: The program and its arguments.
        environment: Its environment.
        interrupt_when: Given the output so far; Ctrl-C is typed once it first returns true.
        seconds: Time limit.

    Returns:
        Exit code, and all output with its control sequences.
    """
    ours, theirs = open_terminal()
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env=dict(environment) | {"TERM": "xterm"},
        start_new_session=True,
        # Ctrl-C reaches the processes whose controlling terminal this is.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    output, end = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # The program has closed the terminal.
                break
            if not part:
                break
            output += part
            if interrupt_when and interrupt_when(output.decode(errors="replace")):
                os.write(ours, b"\x03")
                interrupt_when = None
        text = output.decode(errors="replace")
        try:
            return process.wait(max(60.0, end - time.monotonic())), text
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"no end within {seconds:g} s: {text}") from error
    finally:
        process.kill()
        process.wait()
        os.close(ours)
