"""The audio of a track as a file, an object behind a URL, or a member of a tar file."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lightning_n2m.errors import InputError
from lightning_n2m.storage import is_folder, is_url, open_read

# A member of a tar file is known by its place in it: nothing is ever unpacked, whatever its name says.
_MEMBER = re.compile(r"(.+)::(\d+)\+(\d+)", re.DOTALL)
_IN_MEMORY = 1 << 26  # Bytes of a tar member or an object; longer ones are copied to a temporary file.


@dataclass(frozen=True)
class SourceFile:
    """A file of a collection.

    Args:
        path: A path, a URL, or ``TAR::OFFSET+SIZE``.
        name: Its path within the collection, as text that can be written anywhere.
        stamp: Changes when the file or a sidecar does.
        json_sidecar: Path of NAME.json; empty when there is none.
        caption_sidecar: Path of NAME.txt; empty when there is none.
        is_link: Whether it is a symbolic link.
        reason: Kind of reason to reject it, as far as that is known without opening it.
        detail: Details of the reason.
    """

    path: str
    name: str
    stamp: str = ""
    json_sidecar: str = ""
    caption_sidecar: str = ""
    is_link: bool = False
    reason: str = ""
    detail: str = ""


@contextmanager
def local_audio(path: str) -> Iterator[Path | bytes]:
    """Source for `lightning_n2m.audio.io`: the path of a file, or the bytes of an object or tar member.

    Long members and objects are copied to a temporary file, so that memory does not grow with them.

    Args:
        path: Path of a `SourceFile`.

    Raises:
        OSError: if it is not there.
    """
    if not _MEMBER.fullmatch(path) and not is_url(path):
        yield Path(path)
        return
    with _storage_errors(path), _open(path) as (file, size):
        first = file.read(min(size, _IN_MEMORY))
        if len(first) < _IN_MEMORY:
            copy = None
        else:
            folder = tempfile.TemporaryDirectory(prefix="n2m-scan-")
            copy = Path(folder.name, "audio")
            with open(copy, "wb") as target:
                target.write(first)
                remaining = size - len(first)
                while remaining > 0 and (block := file.read(min(remaining, 1 << 20))):
                    target.write(block)
                    remaining -= len(block)
    if copy is None:
        yield first
        return
    del first
    with folder:
        yield copy


def read_small(path: str, max_bytes: int) -> bytes:
    """All of a small file.

    Raises:
        ValueError: if it is longer than `max_bytes`, or not a regular file.
        OSError: if it cannot be read.
    """
    with _storage_errors(path), _open(path) as (file, size):
        data = file.read(min(size, max_bytes + 1))
    if len(data) > max_bytes:
        raise ValueError(f"longer than {max_bytes} bytes")
    return data


@contextmanager
def _open(path: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file at the first byte of its content, and the length of that."""
    member = _MEMBER.fullmatch(path)
    container = member[1] if member else path
    if not is_url(container) and not is_regular(container):
        raise ValueError("not a regular file")
    with open_read(container) as file:
        if member:
            start, size = int(member[2]), int(member[3])
        else:
            start, size = 0, file.seek(0, os.SEEK_END)
        file.seek(start)
        yield file, size


@contextmanager
def _storage_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, InputError, ValueError):
        raise
    except Exception as error:  # every kind of storage has errors of its own
        raise OSError(errno.EIO, str(error) or type(error).__name__, path) from error


def is_regular(path: str | Path) -> bool:
    """Whether a path leads to a regular file: no folder, pipe, device or dangling link."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def check_mounted(path: str, root: str) -> None:
    """Distinguish a missing file, which is skipped, from a missing disk, which ends the run.

    Args:
        path: A file that could not be read.
        root: Folder of the collection.

    Raises:
        InputError: if the disk of the file seems to be no longer mounted, or its bucket out of reach.
    """
    member = _MEMBER.fullmatch(path)
    file = member[1] if member else path
    if is_url(file):
        bucket = "/".join(file.split("/")[:3])
        try:
            reached = is_folder(bucket)
        except Exception:  # every kind of storage has errors of its own
            reached = False
        if not reached:
            raise InputError(
                f"{bucket} cannot be reached; once it can, run the same command again to resume."
            )
        return
    if not root:
        return
    folder = Path(file).parent
    try:
        # The nearest folder that is left; an empty one above the file's own is a mount point without a disk.
        while not folder.is_dir():
            folder = folder.parent
        lost = not folder.is_relative_to(root)
        if folder != Path(file).parent or folder == Path(root):
            lost = lost or next(os.scandir(folder), None) is None
    except OSError:
        lost = True
    if lost:
        raise InputError(
            f"{folder} no longer holds the music that was there (looking for {plain(file)}); mount its disk, "
            "then run the same command again to resume."
        )


def plain(text: str) -> str:
    """A name as text that can be written anywhere: bytes that are not UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
