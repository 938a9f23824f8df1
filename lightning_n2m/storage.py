"""Files at paths and at URLs (``s3://``, ``gs://``, ``memory://``) through one interface, fsspec."""

from __future__ import annotations

import importlib.util
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from lightning_n2m.errors import InputError

Location = str | Path


def is_url(place: Location) -> bool:
    """Whether a place is a URL; everything else is a local path."""
    return isinstance(place, str) and "://" in place and not place.startswith("file://")


def locate(place: Location) -> Location:
    """A URL unchanged, anything else as a path."""
    return place if is_url(place) else Path(str(place).removeprefix("file://"))


def in_package(place: str) -> Path:
    """A file or folder that an installed Python package carries, without importing any package.

    Args:
        place: ``package:NAME/PATH``; the name is that of a top-level package, since Python would import the
            parent of any other.

    Raises:
        ImportError: if there is no such package.
        FileNotFoundError: if it has no such file or folder.
        ValueError: if the name has dots, or the path leads out of the package.
    """
    package, _, rest = place.removeprefix("package:").partition("/")
    if not package.isidentifier():
        raise ValueError(f"{package!r} is not the name of a top-level Python package")
    parts = Path(rest).parts
    if ".." in parts or Path(rest).is_absolute() or "\\" in rest or "\0" in rest:
        raise ValueError(f"{rest!r} is not a path inside the package {package}")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the Python package {package} is not installed")
    path = Path(spec.submodule_search_locations[0]) / rest
    if not path.exists():
        raise FileNotFoundError(f"there is no such folder or file as {path}")
    return path


def join(folder: Location, name: str) -> Location:
    """A file of a folder."""
    return f"{str(folder).rstrip('/')}/{name}" if is_url(folder) else Path(folder) / name


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path on it.

    Raises:
        InputError: if fsspec does not know the protocol, or its package is not installed.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url} cannot be opened: {str(error).rstrip('.')}; install it with pip.") from error


def size(place: Location) -> int | None:
    """Bytes of a file; none when there is no such file.

    Raises:
        InputError: if it is a FIFO, a socket or a device, which could block a reader or never end.
    """
    try:
        if not is_url(place):
            status = os.stat(place)
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise InputError(f"{place} is not a regular file; replace it by one.")
            return status.st_size if stat.S_ISREG(status.st_mode) else None
        system, path = filesystem(str(place))
        info = system.info(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info["size"] if info["type"] == "file" else None


def is_folder(place: Location) -> bool:
    """Whether the folder exists, or anything below this URL."""
    if not is_url(place):
        return Path(place).is_dir()
    system, path = filesystem(str(place))
    return bool(system.isdir(path))


def make_folder(place: Location) -> None:
    """Create a folder and its parents; object stores need none."""
    if not is_url(place):
        Path(place).mkdir(parents=True, exist_ok=True)


def names(folder: Location, kind: Literal["file", "directory"] = "file") -> list[str]:
    """Names of the files, or of the folders, directly in a folder, sorted; none if the folder is missing."""
    try:
        if not is_url(folder):
            paths = Path(folder).iterdir()
            return sorted(
                item.name for item in paths if (item.is_file() if kind == "file" else item.is_dir())
            )
        system, path = filesystem(str(folder))
        paths_of_kind = [item["name"] for item in system.ls(path, detail=True) if item["type"] == kind]
        return sorted(name.rstrip("/").rpartition("/")[2] for name in paths_of_kind)
    except FileNotFoundError:
        return []


def read_bytes(place: Location) -> bytes:
    """The content of a file.

    Raises:
        InputError: if it is not a regular file.
        OSError: if it cannot be read.
    """
    if not is_url(place):
        size(place)
        return Path(place).read_bytes()
    system, path = filesystem(str(place))
    return bytes(system.cat_file(path))


def open_read(place: Location) -> BinaryIO:
    """Open a file for reading, with ``seek``.

    Raises:
        InputError: if it is not a regular file.
        OSError: if it cannot be opened.
    """
    if not is_url(place):
        size(place)
        return open(place, "rb")
    system, path = filesystem(str(place))
    return system.open(path, "rb")  # type: ignore[no-any-return]


def write_atomic(place: Location, data: bytes | str) -> None:
    """Write a file that appears under its name only when it is complete.

    Args:
        place: Final path or URL; the folder of a path must exist.
        data: The content; text is written as UTF-8.
    """
    content = data.encode() if isinstance(data, str) else data
    if is_url(place):
        # Object stores show an object only once all of it has arrived.
        system, path = filesystem(str(place))
        system.pipe_file(path, content)
        return
    with atomic_path(place) as part:
        part.write_bytes(content)


@contextmanager
def atomic_path(target: Location) -> Iterator[Path]:
    """A new empty local file, which becomes ``target`` once the block has ended without an error.

    A reader sees the old file or the complete new one, never a part. The temporary name is random and is
    created exclusively, so that a symbolic link in its place is never followed. For a URL, the file lies in
    a private temporary folder and is uploaded at the end.

    Args:
        target: Final path, whose folder must exist, or a URL.

    Yields:
        Path of the temporary file: ``.NAME.RANDOM.part`` beside a target path.
    """
    if is_url(target):
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "part"
            part.touch()
            yield part
            system, path = filesystem(str(target))
            system.put_file(str(part), path)
        return
    target = Path(target)
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def remove_partial_files(folder: Location) -> None:
    """Remove the temporary files that a killed job left in a folder; object stores keep none."""
    if not is_url(folder):
        for path in Path(folder).glob(".*.part"):
            path.unlink(missing_ok=True)
