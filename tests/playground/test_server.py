from __future__ import annotations

import asyncio

import pytest

from lightning_n2m.playground.__main__ import main
from lightning_n2m.playground.server import Guard

LIMIT = 1000


def answer(headers: list[tuple[bytes, bytes]], bodies: list[bytes]) -> tuple[int, int, dict[bytes, bytes]]:
    """Status, bytes that the application received, and headers of the answer to a request."""
    received = 0
    sent = []
    messages = [{"type": "http.request", "body": body, "more_body": True} for body in bodies]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    async def application(scope, receive, send):
        nonlocal received
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            received += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"ok"})

    asyncio.run(Guard(application, LIMIT)({"type": "http", "headers": headers}, receive, send))
    if not sent:
        return 0, received, {}
    return sent[0]["status"], received, dict(sent[0]["headers"])


def test_answers_forbid_other_hosts():
    status, received, headers = answer([(b"content-length", b"10")], [b"x" * 10])
    assert (status, received) == (200, 10)
    assert headers[b"content-security-policy"].startswith(b"default-src 'self'")
    assert b"http" not in headers[b"content-security-policy"]
    assert headers[b"a"] == b"b"


@pytest.mark.parametrize("length", [b"2147483648", b"-1", b"many"])
def test_a_body_that_states_too_much_is_refused_before_it_is_read(length):
    status, received, _ = answer([(b"content-length", length)], [b"x" * 10])
    assert (status, received) == (413, 0)


def test_a_body_without_a_length_ends_at_the_bound():
    status, received, _ = answer([], [b"x" * 400] * 10)
    assert status == 0
    assert received <= LIMIT


def test_wrong_options_are_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--max_queue", "0"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: max_queue is 0; give a number from 1 to 10000.\n"
