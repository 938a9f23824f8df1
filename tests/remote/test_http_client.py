"""Malicious and broken servers: answers are bounded, and credentials stay with their server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_n2m.errors import InputError
from lightning_n2m.remote import http_client
from lightning_n2m.remote.bundles import fetch_bundle
from lightning_n2m.remote.http_client import Unreachable, open_url, read_small
from tests.remote.servers import FileServer, Handler, running

Answer = Callable[[Handler], None]


def only_weights(answer: Answer) -> Callable[[Handler], bool]:
    """Replace the answers to requests for the weights."""

    def replace(handler: Handler) -> bool:
        if not handler.path.endswith("weights.safetensors"):
            return False
        answer(handler)
        return True

    return replace


def endless(handler: Handler) -> None:
    """State 1 kB and send without an end."""
    handler.respond(200, b"", length=1000)
    if handler.command == "GET":
        handler.close_connection = True
        while True:
            handler.wfile.write(bytes(1000))


def endless_chunks(handler: Handler) -> None:
    handler.respond(200, b"", {"Transfer-Encoding": "chunked"}, length=None)
    while handler.command == "GET":
        handler.wfile.write(b"3e8\r\n" + bytes(1000) + b"\r\n")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (endless, "do not belong together|damaged"),  # the connection ends at the stated length
        (endless_chunks, "does not state the length"),
        (lambda h: h.respond(200, b"x", length=10**15), "has 1000000000000000 bytes, more than"),
        (lambda h: h.respond(200, b"x", length=10**30), "does not state the length"),
        (lambda h: h.respond(200, b"x", {"Content-Encoding": "gzip"}), "compressed .gzip."),
        (lambda h: h.respond(302, headers={"Location": "file:///etc/passwd"}), "a URL that is not HTTP"),
        (lambda h: h.respond(302, headers={"Location": "ftp://127.0.0.1/x"}), "not a valid https"),
        (lambda h: h.respond(302, headers={"Location": "http://u:p@127.0.0.1/x"}), "user name or password"),
        (lambda h: h.respond(302, headers={"Location": h.path}), "redirects more than 5 times"),
        (lambda h: h.respond(302), "redirects more than 5 times"),
        (lambda h: h.respond(401), "refuses access"),
        (lambda h: h.respond(403), "refuses access"),
        (lambda h: h.respond(418), "refuses the request .* .status 418."),
        (lambda h: h.respond(404), "holds no weights.safetensors"),
        (lambda h: h.respond(206, b"x", {"Content-Range": "bytes 5-5/6"}), "another part|damaged"),
        (lambda h: h.wfile.write(b"\x00" * 100_000), "cannot be reached"),
        (lambda h: h.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"), "cannot be reached"),
    ],
)
def test_a_malicious_answer_ends_in_one_line(
    server: FileServer, answer: Answer, message: str, cache: Path
) -> None:
    def closing(handler: Handler) -> None:
        answer(handler)
        handler.close_connection = True

    server.answer = only_weights(closing)
    with pytest.raises(InputError, match=message) as refusal:
        fetch_bundle(f"{server.url}/stage")
    assert "\n" not in str(refusal.value)
    assert not list((cache / "bundles").glob("*"))


def test_a_config_of_any_length_is_bounded(server: FileServer) -> None:
    server.files["/stage/config.yaml"] = bytes(1 << 19)
    with pytest.raises(InputError, match=r"config\.yaml has 524288 bytes, more than 262144"):
        fetch_bundle(f"{server.url}/stage")

    def endless_config(handler: Handler) -> bool:
        if handler.path.endswith("config.yaml"):
            endless_chunks(handler)
            handler.close_connection = True
            return True
        return False

    server.answer = endless_config
    with pytest.raises(InputError, match="sends more than 262144 bytes"):
        fetch_bundle(f"{server.url}/stage")


def test_the_limit_of_weights_can_be_set(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("N2M_MAX_DOWNLOAD_GB", "0.00001")
    with pytest.raises(InputError, match="bytes, more than 10000"):
        fetch_bundle(f"{server.url}/stage")
    monkeypatch.setenv("N2M_MAX_DOWNLOAD_GB", "much")
    with pytest.raises(InputError, match="N2M_MAX_DOWNLOAD_GB is 'much'"):
        fetch_bundle(f"{server.url}/stage")


def test_a_slow_answer_is_given_up(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MIN_RATE_SECONDS", 0.05)

    def drip(handler: Handler) -> bool:
        handler.respond(200, b"", length=1000)
        for _ in range(1000):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            http_client.time.sleep(0.01)
        return True

    server.answer = drip
    with pytest.raises(Unreachable, match="too slow"):
        read_small(f"{server.url}/stage/config.yaml", 10_000)


def test_a_silent_server_is_given_up(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "TIMEOUT", 0.1)

    def answer_late(handler: object) -> bool:
        http_client.time.sleep(0.3)
        return True

    server.answer = answer_late
    with pytest.raises(Unreachable, match="cannot be reached"), open_url(f"{server.url}/x"):
        pass


@pytest.fixture
def other() -> Iterator[FileServer]:
    owner = FileServer({"/file": b"content"})
    with running(owner):
        yield owner


def test_a_token_goes_to_its_own_server_only(server: FileServer, other: FileServer) -> None:
    server.files["/file"] = b"content"

    def redirect(handler: Handler) -> bool:
        target = {"/away": f"{other.url}/file", "/moved": "/file"}.get(handler.path)
        if target:
            handler.respond(302, headers={"Location": target})
        return target is not None

    server.answer = redirect
    for path in ("/away", "/moved"):
        assert read_small(server.url + path, 100, token="secret") == b"content"
    assert [r.headers.get("authorization") for r in server.requests] == ["Bearer secret"] * 3
    assert [r.headers.get("authorization") for r in other.requests] == [None]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("https://host/a", "http://host/a", "is not encrypted"),
        ("https://host/a", "http://127.0.0.1/a", "is not encrypted"),
        ("http://127.0.0.1/a", "http://127.0.0.1/b", None),
        ("https://host/a", "https://other/b", None),
        ("https://host/a", "https://u@other/b", "user name"),
    ],
)
def test_a_redirect_never_removes_the_encryption(source: str, target: str, message: str | None) -> None:
    handler = http_client._SafeRedirects()
    request = http_client.urllib.request.Request(source, method="HEAD")
    arguments = (request, None, 302, "Found", {}, target)
    if message is None:
        redirected = handler.redirect_request(*arguments)  # type: ignore[arg-type]
        assert redirected is not None
        assert (redirected.full_url, redirected.get_method()) == (target, "HEAD")
    else:
        with pytest.raises(InputError, match=message):
            handler.redirect_request(*arguments)  # type: ignore[arg-type]


def test_a_token_is_not_sent_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    class Opener:
        def open(self, request: http_client.urllib.request.Request, timeout: float) -> None:
            sent.append(request.unredirected_hdrs)
            raise OSError("no network")

    monkeypatch.setattr(http_client, "_opener", Opener)
    for url in ("http://host/a", "https://host/a", "http://localhost/a"):
        with pytest.raises(Unreachable), open_url(url, token="secret"):
            pass
    assert ["Authorization" in headers for headers in sent] == [False, True, True]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_is_recognised(host: str) -> None:
    assert http_client.is_loopback(host)
    assert not http_client.is_loopback("127.0.0.1.example.org") and not http_client.is_loopback("10.0.0.1")
