"""A language model behind an OpenAI-compatible HTTP endpoint."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urlsplit

from data_pipeline.captions.vocabulary.examples import PREFIX, Song, query
from lightning_n2m.errors import InputError

PAUSE = 2.0  # Seconds before the second attempt; each later pause is twice as long.
MOST_BYTES = 1 << 20  # Size of an HTTP response.
MOST_CHARACTERS = 10_000  # Length of an answer.
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_INSTRUCTION = (
    "Continue the list: answer with the description of the last song only, two to four sentences that "
    "would fit other songs of its kind too."
)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: urllib would send the key along to whatever host the server names."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing; the response with its 3xx code then becomes an `HTTPError`."""


class EndpointWriter:
    """Posts to ``BASE/chat/completions``, several songs at a time, at a bounded rate.

    The key is read from the environment, so it is in no shell history and no file. It is sent to this URL
    only: a redirect is an error. Errors that pass (too many requests, an overloaded server, a broken
    connection) are retried after a pause that doubles each time; any other error (a wrong key, an unknown
    model) stops the work at once. Responses are bounded in size, and no part of them is printed.

    Args:
        base: URL up to and including the version, for instance ``https://host/v1``.
        model: Name of the model on the server.
        key: Name of the environment variable that holds the key; it may be unset for a server that
            needs none.
        rate: Upper bound on requests per minute.
        parallel: Requests in progress at a time.
        tries: Attempts for one song.
        timeout: Seconds for one answer.
        tokens: Upper bound on the length of an answer, in tokens.
        temperature: Sampling temperature.

    Raises:
        InputError: if the URL or the key cannot be used.
    """

    def __init__(
        self,
        base: str,
        model: str,
        key: str = "OPENAI_API_KEY",
        rate: float = 120.0,
        parallel: int = 4,
        tries: int = 5,
        timeout: float = 60.0,
        tokens: int = 120,
        temperature: float = 0.8,
    ) -> None:
        _check_url(base, key)
        self.url, self.model, self.key = f"{base.rstrip('/')}/chat/completions", model, key
        self.name = f"{model} at {base}"
        self.rate, self.parallel, self.tries = rate, parallel, tries
        self.timeout, self.tokens, self.temperature = timeout, tokens, temperature
        self._secret = _read_key(key)
        self._lock, self._next_start = threading.Lock(), 0.0
        self._opener = urllib.request.build_opener(_NoRedirects)

    def write(self, songs: Sequence[Song]) -> Iterator[tuple[int, str]]:
        """Answers in the order of their arrival; the first song that fails for good stops the work."""
        with ThreadPoolExecutor(self.parallel) as pool:
            positions = {pool.submit(self._describe, song): number for number, song in enumerate(songs)}
            try:
                yield from _completed(positions)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _wait_for_turn(self) -> None:
        """Sleep until the next request may start at the bounded rate."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + 60.0 / self.rate
        time.sleep(start - now)

    def _request(self, song: Song) -> urllib.request.Request:
        body = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": _INSTRUCTION},
                {"role": "user", "content": PREFIX + query(song)},
            ],
            "max_tokens": self.tokens,
            "temperature": self.temperature,
        }
        request = urllib.request.Request(
            self.url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        if self._secret:
            # "Unredirected": not sent along if a handler of this process should follow a redirect after all.
            request.add_unredirected_header("Authorization", f"Bearer {self._secret}")
        return request

    def _describe(self, song: Song) -> str:
        reason = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            self._wait_for_turn()
            try:
                deadline = time.monotonic() + self.timeout
                with self._opener.open(self._request(song), timeout=self.timeout) as response:
                    return parse_answer(_read(response, deadline))
            except urllib.error.HTTPError as error:
                reason = f"it answers with HTTP status {error.code}"
                error.close()
                if error.code in (401, 403):
                    raise InputError(
                        f"{self.url} refuses the key (HTTP status {error.code}); put a valid one into the "
                        f"environment variable {self.key}."
                    ) from None
                if 300 <= error.code < 400:
                    raise InputError(
                        f"{self.url} redirects to another URL (HTTP status {error.code}), which would get "
                        "the key; give the final URL as --endpoint."
                    ) from None
                if error.code not in _TRANSIENT:
                    break
            except (OSError, HTTPException, ValueError) as error:
                reason = _reason(error)
        raise InputError(
            f"{self.url} gives no answers ({reason}); check that the endpoint runs and that it has the model "
            f"'{self.model}', then run the same command again: answers so far are kept."
        )


def parse_answer(data: bytes) -> str:
    """The text of a chat completion.

    Args:
        data: The body of the response. It may be anything: a server is not trusted.

    Raises:
        ValueError: if it is no chat completion; the message holds nothing of the body.
    """
    try:
        content = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise ValueError("its answer is no chat completion") from None
    if not isinstance(content, str):
        raise ValueError("its answer is no chat completion")
    if len(content) > MOST_CHARACTERS:
        raise ValueError(f"its answer has more than {MOST_CHARACTERS} characters")
    # Halves of surrogate pairs cannot be written as UTF-8.
    return content.encode("utf-8", "replace").decode()


def _completed(positions: dict[Future[str], int]) -> Iterator[tuple[int, str]]:
    """Positions and results of futures; after a failure only what is in progress is awaited."""
    failure: InputError | None = None
    for future in as_completed(positions):
        # Answers in progress when another song fails have been paid for, so they are kept.
        if future.cancelled():
            continue
        try:
            answer = future.result()
        except InputError as error:
            failure = failure or error
            # Not by shutting the pool down: as_completed would wait for what that cancels.
            for other in positions:
                other.cancel()
            continue
        yield positions[future], answer
    if failure:
        raise failure


def _read(response: IO[bytes], deadline: float) -> bytes:
    """The body of a response, within a bound on size and time."""
    parts: list[bytes] = []
    total = 0
    while part := response.read(1 << 16):
        parts.append(part)
        total += len(part)
        if total > MOST_BYTES:
            raise ValueError(f"its answer has more than {MOST_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("timed out")
    return b"".join(parts)


def _reason(error: Exception) -> str:
    """What went wrong, without anything that the server sent."""
    if isinstance(error, HTTPException):
        return f"its answer is no HTTP: {type(error).__name__}"
    return str(getattr(error, "reason", error)) or type(error).__name__


def _check_url(base: str, key: str) -> None:
    """Refuse URLs that cannot be used, or that hold secrets: the URL is stored with the answers."""
    remedy = "give a URL such as https://host/v1"
    try:
        parts = urlsplit(base)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        raise InputError(f"--endpoint is no URL; {remedy}.") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        # Not printed: it may hold a password.
        raise InputError(
            f"--endpoint holds a user name, a password or parameters; {remedy}, and put the key into the "
            f"environment variable {key}."
        )
    if not usable or not base.isprintable() or " " in base or not base.isascii():
        raise InputError(f"--endpoint {base}: {remedy}.")


def _read_key(name: str) -> str:
    """The key in an environment variable, which may be unset. No message ever holds the key."""
    secret = os.environ.get(name, "").strip()
    if secret and not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise InputError(
            f"The key in the environment variable {name} holds spaces, control characters or characters "
            "beyond ASCII; set it again, without them."
        )
    return secret
