"""Downloads one file of a server: bounded, resumed where it stopped, and checked by its hash."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from lightning_n2m.errors import InputError
from lightning_n2m.remote.http_client import CHUNK, Missing, Unreachable
from lightning_n2m.remote.sources import RemoteFile, Source

ATTEMPTS = 4
WAIT = 1.0  # seconds before the second attempt; doubled for each further one
_RESERVE = 100_000_000  # bytes of the disk that stay free
_SHOWN = 4_000_000  # bytes from which a download shows its progress
_INTERVAL = 15.0  # seconds between two lines where there is no terminal


def download(source: Source, file: RemoteFile, part: Path, limit: int) -> str:
    """Download a file; a part of the same version is completed.

    Args:
        source: The folder that holds it.
        file: What the server states about it.
        part: Where the content is written; kept if the connection fails.
        limit: Largest number of bytes.

    Returns:
        SHA-256 of the content.

    Raises:
        Unreachable: if the connection fails repeatedly.
        InputError: if the file is missing, too large, or its content does not have the stated length or hash.
    """
    if file.size is not None and file.size > limit:
        raise InputError(f"{file.shown} has {file.size} bytes, more than {limit}; give another URL.")
    missing = (file.size or limit) - (part.stat().st_size if part.exists() else 0)
    if shutil.disk_usage(part.parent).free < missing + _RESERVE:
        raise InputError(
            f"{part.parent} has no room for {file.shown} ({missing / 1e9:.2f} GB); free some space, or set "
            "N2M_CACHE to another folder."
        )
    with DownloadProgress(file) as progress:
        for attempt in range(ATTEMPTS):
            try:
                _receive(source, file, part, limit, progress.show)
                break
            except Missing as error:
                raise InputError(f"{error}; the bundle is not complete. Give another URL.") from error
            except Unreachable:
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(WAIT * 2**attempt)
    return _check(file, part)


def _receive(source: Source, file: RemoteFile, part: Path, limit: int, show: Callable[[int], None]) -> None:
    """Append what is missing.

    Raises:
        Unreachable: if less than the stated length arrives.
        InputError: if more arrives.
    """
    bound = limit if file.size is None else file.size
    size = part.stat().st_size if part.exists() else 0
    # Without a version there is no telling whether the part belongs to the same content.
    start = size if file.version and size <= bound else 0
    if file.size is not None and start == file.size and start:
        return
    begin, chunks = source.open(file, start)
    with part.open("r+b" if begin else "wb") as output:
        output.seek(begin)
        output.truncate()
        received = begin
        for chunk in chunks:
            received += len(chunk)
            if received > bound:
                part.unlink()
                raise InputError(
                    f"{file.shown}: the server sends more than {bound} bytes; nothing was kept. Give "
                    "another URL."
                )
            output.write(chunk)
            show(received)
    if file.size is not None and received < file.size:
        raise Unreachable(f"{file.shown}: the connection ended after {received} of {file.size} bytes")


def _check(file: RemoteFile, part: Path) -> str:
    """SHA-256 of a complete file, once its stated hash has been compared."""
    size = part.stat().st_size
    sha256 = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)  # how git hashes a file
    with part.open("rb") as content:
        while chunk := content.read(CHUNK):
            sha256.update(chunk)
            git.update(chunk)
    if file.digest is not None:
        kind, expected = file.digest
        if (sha256 if kind == "sha256" else git).hexdigest() != expected:
            part.unlink()
            raise InputError(
                f"{file.shown}: the content does not have the hash that was stated for it, and was removed; "
                "run the command again, or give another URL."
            )
    return sha256.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class DownloadProgress:
    """Progress of a large download: a bar with rate and remaining time, or a line every 15 s.

    Args:
        file: The file; nothing is shown for small ones.
    """

    def __init__(self, file: RemoteFile) -> None:
        self.file = file
        self._bar: Progress | None = None
        self._began = self._last_line = time.monotonic()
        self.is_shown = (file.size or 0) >= _SHOWN
        if self.is_shown and sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(file.name[-24:], total=file.size)

    def __enter__(self) -> DownloadProgress:
        """Say what is downloaded."""
        if self.is_shown:
            size = f"{(self.file.size or 0) / 1e6:.1f} MB"
            print(f"Downloading {self.file.shown} ({size}).", file=sys.stderr, flush=True)
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, received: int) -> None:
        """Report the number of bytes that are there."""
        if self._bar is not None:
            self._bar.update(self._task, completed=received)
        elif self.is_shown and time.monotonic() - self._last_line >= _INTERVAL:
            self._last_line = time.monotonic()
            rate = received / (self._last_line - self._began) / 1e6
            total = self.file.size or 0
            seconds = (total - received) / max(rate, 1e-9) / 1e6
            print(
                f"{self.file.name}: {received / 1e6:.0f} of {total / 1e6:.0f} MB, {rate:.1f} MB/s, "
                f"{seconds:.0f} s remain",
                file=sys.stderr,
                flush=True,
            )
