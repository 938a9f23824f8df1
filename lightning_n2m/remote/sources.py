"""Files of a stage folder on a server: size, version and content, by one interface for all protocols."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from lightning_n2m.errors import InputError
from lightning_n2m.remote.http_client import (
    CHUNK,
    Missing,
    Unreachable,
    check_url,
    display_url,
    open_url,
    read_chunks,
)
from lightning_n2m.storage import filesystem

# fsspec knows many more, among them some that run commands or read local files.
OBJECT_STORES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "memory": "fsspec"}  # and their packages
_PIN = re.compile(r"sha256=([0-9a-f]{64})")


@dataclass(frozen=True)
class RemoteFile:
    """One file on a server.

    Args:
        name: Path below the folder, ``config.yaml``.
        shown: Its URL for messages.
        size: Bytes; none if the server does not state them.
        version: Changes with the content: an ETag, a date or a hash. Empty if the server gives none.
        digest: Hash of the content by its kind, ``sha256`` or ``git``, if it is known beforehand.
    """

    name: str
    shown: str
    size: int | None
    version: str
    digest: tuple[str, str] | None = None


class Source(Protocol):
    """A folder on a server."""

    def find(self, name: str) -> RemoteFile | None:
        """The file of this name; none if the folder has none.

        Raises:
            Unreachable: if the server does not answer.
            InputError: if it refuses access.
        """

    def open(self, file: RemoteFile, start: int) -> tuple[int, Iterator[bytes]]:
        """Content of a file, from an offset on if the server can.

        Returns:
            Offset of the first byte, ``start`` or 0, and the content in pieces.

        Raises:
            Missing: if the file is not there any more.
            Unreachable: if the connection fails, also while the pieces are read.
        """


def split_pin(url: str) -> tuple[str, str | None]:
    """A URL without its fragment, and the hash that the fragment ``#sha256=...`` gives.

    Raises:
        InputError: if the fragment is something else.
    """
    base, _, fragment = url.partition("#")
    if not fragment:
        return base, None
    match = _PIN.fullmatch(fragment)
    if match is None:
        raise InputError(
            f"{display_url(url)}: the part after # is not sha256= and the 64 hexadecimal digits of the hash "
            "of its weights.safetensors; correct it."
        )
    return base, match[1]


class HttpSource:
    """A folder on a web server: ``https://host/folder``, where a query is sent with each file.

    Args:
        url: URL of the folder, without a fragment.
        is_pinned: Whether the hash of the weights is known.
    """

    def __init__(self, url: str, is_pinned: bool = False) -> None:
        check_url(url, is_pinned)
        self.folder, _, self.query = url.partition("?")
        self.folder = self.folder.rstrip("/")

    def _url(self, name: str) -> str:
        return f"{self.folder}/{name}" + (f"?{self.query}" if self.query else "")

    def find(self, name: str) -> RemoteFile | None:
        """Size and version, by HEAD, or by GET where the server does not allow HEAD."""
        url = self._url(name)
        try:
            try:
                return self._describe(url, name, "HEAD")
            except InputError:
                return self._describe(url, name, "GET")
        except Missing:
            return None

    @staticmethod
    def _describe(url: str, name: str, method: str) -> RemoteFile:
        with open_url(url, method=method) as response:
            size = response.headers.get("Content-Length", "")
            version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            # `isdecimal` accepts digits of all scripts; `isascii` keeps 0 to 9.
            is_number = size.isascii() and size.isdecimal() and len(size) < 19
            return RemoteFile(name, display_url(url), int(size) if is_number else None, version[:200])

    def open(self, file: RemoteFile, start: int) -> tuple[int, Iterator[bytes]]:
        """The content; the rest of it only if it has not changed on the server (``If-Range``)."""
        return open_http(self._url(file.name), file, start)


def open_http(
    url: str, file: RemoteFile, start: int, token: str | None = None
) -> tuple[int, Iterator[bytes]]:
    """Content of a file on a web server, see `Source.open`.

    Args:
        url: Its URL.
        file: What is known about it.
        start: Offset to resume from.
        token: Secret for this server.
    """
    headers = {}
    # A weak ETag does not promise that the bytes are the same; a hash does, and needs no `If-Range`.
    if start and (file.digest is not None or not file.version.startswith("W/")):
        headers["Range"] = f"bytes={start}-"
        if file.digest is None:
            headers["If-Range"] = file.version
    context = open_url(url, headers, token=token)
    response = context.__enter__()
    ranges = response.headers.get("Content-Range", "").strip()
    begin = start if response.status == 206 and ranges.startswith(f"bytes {start}-") else 0
    if response.status == 206 and begin != start:
        context.__exit__(None, None, None)
        raise Unreachable(f"{file.shown}: the server sent another part than the requested one")

    def pieces() -> Iterator[bytes]:
        try:
            yield from read_chunks(response, file.shown)
        finally:
            context.__exit__(None, None, None)

    return begin, pieces()


class ObjectStoreSource:
    """A folder in an object store, by fsspec: ``s3://bucket/folder``, ``gs://bucket/folder``.

    Args:
        url: URL of the folder.

    Raises:
        InputError: if the package of the protocol is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        protocol = url.partition(":")[0]
        try:
            self.system, self.path = filesystem(self.url)
        except InputError as error:
            package = OBJECT_STORES[protocol]
            raise InputError(
                f"{url} needs the package {package}, which is not installed; install it with pip install "
                f"{package}."
            ) from error

    def find(self, name: str) -> RemoteFile | None:
        """Size and version as the store states them."""
        shown = f"{self.url}/{name}"
        try:
            info: dict[str, Any] = self.system.info(f"{self.path}/{name}")
        except FileNotFoundError:
            return None
        except Exception as error:  # each store has error classes of its own
            raise _store_error(error, shown) from error
        if info.get("type") != "file":
            return None
        keys = ("ETag", "etag", "generation", "LastModified", "created", "mtime")
        version = " ".join(str(info[key]) for key in keys if info.get(key))
        return RemoteFile(name, shown, info.get("size"), version)

    def open(self, file: RemoteFile, start: int) -> tuple[int, Iterator[bytes]]:
        """The content from the offset on."""

        def pieces() -> Iterator[bytes]:
            try:
                with self.system.open(f"{self.path}/{file.name}", "rb") as stream:
                    stream.seek(start)
                    while chunk := stream.read(CHUNK):
                        yield chunk
            except FileNotFoundError as error:
                raise Missing(f"{file.shown} does not exist in the store") from error
            except Exception as error:
                raise _store_error(error, file.shown) from error

        return start, pieces()


def _store_error(error: Exception, shown: str) -> Exception:
    """An error of an object store: no access, or a failure that may be temporary."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, PermissionError) or "credentials" in reason.lower():
        return InputError(f"{shown} cannot be read ({reason}); set up the credentials of the store.")
    return Unreachable(f"{shown} cannot be reached ({reason})")
