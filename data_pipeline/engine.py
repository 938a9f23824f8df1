"""Units of work on the processes of this machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

from lightning_n2m.errors import InputError

U = TypeVar("U")
R = TypeVar("R")


def _prepare(parent: int) -> None:
    """Set up a worker: one thread, and an end when the command that started it is killed."""
    os.environ["OMP_NUM_THREADS"] = "1"

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(function: Callable[[U], R], units: Sequence[U], workers: int | None = None) -> Iterator[R]:
    """Do every unit and yield the results as they come, in no certain order.

    Args:
        function: Does one unit; a module's own function, so that workers can import it.
        units: What to do.
        workers: Number of processes; 1 works in this one; all cores when none is given.

    Raises:
        InputError: if the number of workers is below 1.
        Exception: whatever a unit raised; what was not begun by then is dropped.
    """
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: give 1 or more.")
    workers = min(workers or cores(), max(1, len(units)))
    if workers == 1:
        yield from map(function, units)
        return
    # Spawned, not forked: a fork would copy the thread pools of torch in an undefined state.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (os.getpid(),))
    try:
        for future in as_completed([pool.submit(function, unit) for unit in units]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
