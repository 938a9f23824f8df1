"""A generation in a thread of its own, which reports its steps and can be cancelled."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from lightning_n2m.stages.result import StageProgress

Result = TypeVar("Result")


class Cancelled(Exception):
    """Ends a generation after its current step."""


class Job(Generic[Result]):
    """Runs a function that reports its progress, in a thread of its own.

    Args:
        run: The function; its argument must be called after each step.
    """

    def __init__(self, run: Callable[[Callable[[StageProgress], None]], Result]) -> None:
        self._run = run
        self._reports: queue.SimpleQueue[StageProgress | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="playground", daemon=True)

    def _work(self) -> None:
        try:
            self._result = self._run(self._report)
        except BaseException as error:
            self._error = error
        finally:
            self._reports.put(None)

    def _report(self, progress: StageProgress) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self._reports.put(progress)

    def reports(self, interval: float) -> Iterator[list[StageProgress]]:
        """Start the work and yield what it reports, until it ends.

        Args:
            interval: Time from one list to the next, in seconds; the last one comes at the end of the work.

        Yields:
            The reports since the previous list; there may be none.
        """
        self._thread.start()
        while True:
            reports: list[StageProgress] = []
            deadline = time.monotonic() + interval
            while (remaining := deadline - time.monotonic()) > 0:
                try:
                    report = self._reports.get(timeout=remaining)
                except queue.Empty:
                    break
                if report is None:
                    yield reports
                    return
                reports.append(report)
            yield reports

    def result(self) -> Result:
        """The result of the function, or its error."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def cancel(self) -> None:
        """End the work after its current step."""
        self._cancelled.set()
