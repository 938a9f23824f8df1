"""Tar files whose bytes depend on nothing but their members."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Add = Callable[[str, bytes], None]


@contextmanager
def write_tar(path: Path) -> Iterator[Add]:
    """Write a tar file that appears under its name only when the block is over without an error.

    Times, owners and modes are fixed, so that equal members give equal bytes.

    Args:
        path: Where the file is to be; its folder must exist.

    Yields:
        A function that appends a member by its name and content.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:

            def add(name: str, data: bytes) -> None:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

            yield add
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
