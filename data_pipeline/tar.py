"""Tar files whose bytes depend on their members only."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lightning_n2m.storage import Location, atomic_path


@dataclass
class Writer:
    """Appends members to a tar file; holds the file's size and checksum once it is complete.

    Args:
        add: Appends a member, given its name and content.
        bytes: Size of the finished file.
        sha256: Checksum of the finished file, in hexadecimal digits.
    """

    add: Callable[[str, bytes], None]
    bytes: int = 0
    sha256: str = ""


@contextmanager
def write_tar(place: Location) -> Iterator[Writer]:
    """Write a tar file that appears under its name only if the block ends without an error.

    Times, owners and modes are fixed, so that equal members give equal bytes.

    Args:
        place: Final path or URL of the file; its folder must exist.
    """
    with atomic_path(place) as part:
        with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:

            def add(name: str, data: bytes) -> None:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

            writer = Writer(add)
            yield writer
        writer.bytes, writer.sha256 = part.stat().st_size, checksum(part)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
