"""A language model behind an OpenAI-compatible HTTP endpoint."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from data_pipeline.captions.vocabulary.examples import PREFIX, Song, query
from lightning_n2m.errors import InputError

PAUSE = 2.0  # Seconds before the second attempt; each one after it waits twice as long.
_TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_INSTRUCTION = (
    "Continue the list: answer with the description of the last song only, two to four sentences that "
    "would fit other songs of its kind too."
)


class EndpointWriter:
    """Asks ``BASE/chat/completions``, several songs at a time, at a bounded rate.

    The key is read from the environment, so that it is in no shell history and no file. What is
    passing (too many requests, an overloaded server, a broken connection) is tried again after
    a pause that doubles each time; what is not (a wrong key, an unknown model) ends the work at once.

    Args:
        base: URL up to and including the version, for instance ``https://host/v1``.
        model: Name of the model there.
        key: Name of the environment variable that holds the key; it may be unset for a server that
            asks for none.
        rate: Requests a minute, at most.
        together: Requests under way at a time.
        tries: Attempts for one song.
        timeout: Seconds to wait for an answer.
        tokens: Length of an answer in tokens, at most.
        temperature: Of sampling.
    """

    def __init__(
        self,
        base: str,
        model: str,
        key: str = "OPENAI_API_KEY",
        rate: float = 120.0,
        together: int = 4,
        tries: int = 5,
        timeout: float = 60.0,
        tokens: int = 120,
        temperature: float = 0.8,
    ) -> None:
        if not base.startswith(("http://", "https://")):
            raise InputError(f"--endpoint {base}: give a URL such as https://host/v1.")
        self.url, self.model, self.key = f"{base.rstrip('/')}/chat/completions", model, key
        self.name = f"{model} at {base}"
        self.rate, self.together, self.tries = rate, together, tries
        self.timeout = timeout
        self.tokens, self.temperature = tokens, temperature
        self._lock, self._next = threading.Lock(), 0.0

    def write(self, songs: Sequence[Song]) -> Iterator[tuple[int, str]]:
        """Answers as they come; the first song that fails for good ends the work."""
        with ThreadPoolExecutor(self.together) as pool:
            asked = {pool.submit(self._ask, song): number for number, song in enumerate(songs)}
            try:
                failed: InputError | None = None
                for future in as_completed(asked):
                    # Answers that are under way when another song fails are paid for, so they are kept.
                    if future.cancelled():
                        continue
                    try:
                        answer = future.result()
                    except InputError as error:
                        failed = failed or error
                        # Not by shutting the pool down: what that cancels, as_completed would wait for.
                        for other in asked:
                            other.cancel()
                        continue
                    yield asked[future], answer
                if failed:
                    raise failed
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _wait_for_turn(self) -> None:
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + 60.0 / self.rate
        time.sleep(turn - now)

    def _ask(self, song: Song) -> str:
        body = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": _INSTRUCTION},
                {"role": "user", "content": PREFIX + query(song)},
            ],
            "max_tokens": self.tokens,
            "temperature": self.temperature,
        }
        headers = {"Content-Type": "application/json"}
        if secret := os.environ.get(self.key):
            headers["Authorization"] = f"Bearer {secret}"
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        reason = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            self._wait_for_turn()
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return _content(json.load(response))
            except urllib.error.HTTPError as error:
                reason = f"it answers {error.code} {error.reason}"
                if error.code in (401, 403):
                    raise InputError(
                        f"{self.url} refuses the key ({error.code} {error.reason}); put a valid one into "
                        f"the environment variable {self.key}."
                    ) from error
                if error.code not in _TRY_AGAIN:
                    break
            except (OSError, ValueError, KeyError) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise InputError(
            f"{self.url} gives no answers ({reason}); see that the endpoint runs and that it has the model "
            f"'{self.model}', then run the same command again: answers so far are kept."
        )


def _content(answer: Any) -> str:
    try:
        return str(answer["choices"][0]["message"]["content"])
    except (TypeError, IndexError) as error:
        raise ValueError("its answer is no chat completion") from error
