"""Tar files whose bytes depend on nothing but their members."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lightning_n2m.storage import Location, is_url, move_to


@dataclass
class Writer:
    """Appends members to a tar file; once it is written, tells its size and checksum.

    Args:
        add: Appends a member by its name and content.
        bytes: Size of the finished file.
        sha256: Its checksum, in hexadecimal digits.
    """

    add: Callable[[str, bytes], None]
    bytes: int = 0
    sha256: str = ""


@contextmanager
def write_tar(place: Location) -> Iterator[Writer]:
    """Write a tar file that appears under its name only when the block is over without an error.

    Times, owners and modes are fixed, so that equal members give equal bytes.

    Args:
        place: Where the file is to be; its folder must exist.
    """
    folder = Path(tempfile.gettempdir()) if is_url(place) else Path(place).parent
    name = str(place).rpartition("/")[2]
    aside = folder / f".{name}.{os.getpid()}.part"
    try:
        with tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:

            def add(name: str, data: bytes) -> None:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

            writer = Writer(add)
            yield writer
        writer.bytes, writer.sha256 = aside.stat().st_size, checksum(aside)
        move_to(aside, place)
    finally:
        aside.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
