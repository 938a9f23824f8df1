"""HTTP requests to servers that are not trusted: redirects, waiting times and answers are bounded.

fsspec's HTTP file system follows every redirect and reads answers of any length, so it is not used here.
Proxies come from the environment (``HTTPS_PROXY``), as urllib reads them; ``.netrc`` and cookies are never
used.
"""

from __future__ import annotations

import http.client
import ipaddress
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from typing import IO
from urllib.parse import urlsplit

from lightning_n2m.errors import InputError

TIMEOUT = 30.0  # seconds without any byte
MIN_RATE_SECONDS = 60.0  # an answer that is slower than MIN_RATE_BYTES in this time is given up
MIN_RATE_BYTES = 1024
CHUNK = 1 << 20
MAX_REDIRECTS = 5


class Unreachable(Exception):
    """The server does not answer, answers with a temporary error, or ended the connection too early."""


class Missing(Exception):
    """The server has no such file (status 404 or 410)."""


def display_url(url: str) -> str:
    """A URL for messages: without the query, which can hold a signature, and without the fragment."""
    return url.partition("#")[0].partition("?")[0]


def check_url(url: str, is_pinned: bool = False) -> None:
    """Refuse URLs that carry credentials or that are not encrypted.

    Args:
        url: The URL.
        is_pinned: Whether the hash of the content is known, so that an unencrypted transfer is safe.

    Raises:
        InputError: if the URL is not valid, holds a user name, or uses HTTP without TLS to another machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{display_url(url)} is not a valid URL ({error}); correct it.") from error
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable():
        raise InputError(f"{display_url(url)} is not a valid https:// URL; correct it.")
    if parts.username is not None or parts.password is not None:
        raise InputError(
            f"The URL of {host} holds a user name or password, which configs and logs would show; remove it."
        )
    if parts.scheme == "http" and not (is_loopback(host) or is_pinned):
        raise InputError(
            f"{display_url(url)} is not encrypted; give an https:// URL, or add #sha256= and the hash of its "
            "weights.safetensors."
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows at most 5 redirects, never from HTTPS to HTTP, and sends the token to its own server only."""

    max_redirections = MAX_REDIRECTS
    max_repeats = MAX_REDIRECTS

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,  # type: ignore[override]
        newurl: str,
    ) -> urllib.request.Request | None:
        """Build the next request.

        Raises:
            InputError: if the target holds credentials, is not HTTP, or is less protected than the source.
        """
        try:
            check_url(newurl, is_pinned=req.type == "http")
        except InputError as error:
            raise InputError(f"{display_url(req.full_url)} redirects to a refused URL: {error}") from error
        if req.type == "https" and urlsplit(newurl).scheme == "http":
            raise InputError(
                f"{display_url(req.full_url)} redirects to {display_url(newurl)}, which is not encrypted; "
                "nothing was downloaded. Give another URL."
            )
        request = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if request is not None:
            request.method = req.get_method()
            # `Authorization` is an unredirected header, so urllib itself has dropped it.
            token = req.unredirected_hdrs.get("Authorization")
            if token is not None and _origin(newurl) == _origin(req.full_url):
                request.add_unredirected_header("Authorization", token)
        return request


def _opener() -> urllib.request.OpenerDirector:
    """An opener for HTTP and HTTPS alone: `build_opener` would add ``file:``, ``ftp:`` and ``data:``."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SafeRedirects(),
    ):
        opener.add_handler(handler)
    return opener


@contextmanager
def open_url(
    url: str, headers: Mapping[str, str] | None = None, method: str = "GET", token: str | None = None
) -> Iterator[http.client.HTTPResponse]:
    """Send a request; the answer has status 200 or 206.

    Args:
        url: A URL that `check_url` accepts.
        headers: Headers of the request.
        method: ``GET`` or ``HEAD``.
        token: Secret for this server; it is not sent to other servers, nor over an unencrypted connection.

    Raises:
        Missing: if the server has no such file.
        Unreachable: if it cannot be reached, or reports a temporary error.
        InputError: if it refuses access, or the answer is not valid.
    """
    shown = display_url(url)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", **(headers or {})})
    request.method = method
    if token and (request.type == "https" or is_loopback(urlsplit(url).hostname or "")):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        response = _opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        raise _status_error(error.code, shown) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise Unreachable(f"{shown} cannot be reached ({' '.join(str(reason).split())[:200]})") from error
    with response:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise InputError(f"The server sends {shown} compressed ({encoding[:20]}); use another server.")
        yield response


def _status_error(status: int, shown: str) -> Exception:
    if status in (404, 410):
        return Missing(f"{shown} does not exist on the server")
    if status in (408, 425, 429) or (status >= 500 and status != 501):
        return Unreachable(f"{shown} cannot be reached (status {status})")
    if status in (401, 403):
        return InputError(
            f"The server refuses access to {shown} (status {status}); check the name, and for a private hub "
            "repository set HF_TOKEN."
        )
    if 300 <= status < 400:
        return InputError(
            f"{shown} redirects more than {MAX_REDIRECTS} times, in a circle, or to a URL that is not HTTP; "
            "give another URL."
        )
    return InputError(f"The server refuses the request for {shown} (status {status}); check the URL.")


def read_chunks(response: http.client.HTTPResponse, shown: str) -> Iterator[bytes]:
    """The rest of an answer in pieces of at most 1 MiB.

    Raises:
        Unreachable: if the connection ends with an error, or the answer comes too slowly.
    """
    began, received = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(f"{shown}: the connection ended early ({type(error).__name__})") from error
        if not chunk:
            return
        received += len(chunk)
        if (elapsed := time.monotonic() - began) > MIN_RATE_SECONDS:
            if received < MIN_RATE_BYTES:
                raise Unreachable(f"{shown}: {received} bytes in {elapsed:.0f} s are too slow")
            began, received = time.monotonic(), 0
        yield chunk


def read_small(url: str, limit: int, token: str | None = None) -> bytes:
    """A small answer as a whole.

    Args:
        url: The URL.
        limit: Largest number of bytes.
        token: See `open_url`.

    Raises:
        InputError: if the answer is longer, or see `open_url`.
    """
    content = bytearray()
    with open_url(url, token=token) as response:
        for chunk in read_chunks(response, display_url(url)):
            content += chunk
            if len(content) > limit:
                raise InputError(
                    f"The answer of {display_url(url)} exceeds {limit} bytes; the server may be wrong."
                )
    return bytes(content)
