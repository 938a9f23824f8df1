"""Units of work on the processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Literal, TypeVar

from lightning_n2m.errors import InputError

Engine = Literal["local", "ray"]
U = TypeVar("U")
R = TypeVar("R")
_QUEUED = 2  # Units that wait for each worker: more would only take memory.
_KILLED = (
    "A worker process was killed, most likely because memory ran out; run the same command again with fewer "
    "--workers: finished work is kept."
)


def _prepare(parent: int) -> None:
    """Set up a worker: it uses one thread, and ends when the command that started it is killed."""
    os.environ["OMP_NUM_THREADS"] = "1"

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    function: Callable[[U], R], units: Iterable[U], workers: int | None = None, engine: Engine = "local"
) -> Iterator[R]:
    """Apply a function to every unit of work, and yield the results in the order of completion.

    Units are taken as workers become free, so that a long iterator of them needs no memory.

    Args:
        function: Does one unit; defined at the top level of a module, so that workers can import it.
        units: The units of work.
        workers: Number of processes; with 1, the local engine uses this process. All cores of this
            machine, or of the cluster, when null.
        engine: ``local`` for processes of this machine; ``ray`` for the cluster that RAY_ADDRESS names,
            or else a temporary one on this machine.

    Raises:
        InputError: if the number of workers is below 1, Ray is missing, or a worker was killed.
        Exception: what a unit raises; units that have not begun by then are cancelled.
    """
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: give 1 or more.")
    if engine == "ray":
        yield from _run_on_ray(function, units, workers)
    elif (workers or cores()) == 1:
        yield from map(function, units)
    else:
        yield from _run_locally(function, units, workers or cores())


def _run_locally(function: Callable[[U], R], units: Iterable[U], workers: int) -> Iterator[R]:
    # Spawned, not forked: a fork would copy the thread pools of torch in an undefined state.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (os.getpid(),))
    remaining = iter(units)

    def submit(number: int) -> set[Future[R]]:
        return {pool.submit(function, unit) for unit in itertools.islice(remaining, number)}

    try:
        pending = submit(_QUEUED * workers)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                pending |= submit(1)
    except BrokenProcessPool as error:
        raise InputError(_KILLED) from error
    except KeyboardInterrupt:
        print("Interrupted; waiting for the workers to end ...", file=sys.stderr, flush=True)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_on_ray(function: Callable[[U], R], units: Iterable[U], workers: int | None) -> Iterator[R]:
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "--engine ray needs the package ray: pip install 'lightning_n2m[ray]', or leave --engine out."
        ) from error
    start_ray = not ray.is_initialized()
    if start_ray and "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False)
    elif start_ray:
        ray.init(num_cpus=workers or cores(), include_dashboard=False, log_to_driver=False)

    # An exception of a unit is reported and not retried; the work of a lost machine is retried.
    @ray.remote(num_cpus=1, max_retries=3)
    def task(unit: U) -> R:
        return function(unit)

    remaining = iter(units)
    # On a shared cluster, no more tasks are queued than the given number of workers.
    queued = workers or _QUEUED * max(1, int(ray.cluster_resources().get("CPU", 1)))
    try:
        pending = [task.remote(unit) for unit in itertools.islice(remaining, queued)]
        while pending:
            done, pending = ray.wait(pending)
            yield ray.get(done[0])
            pending += [task.remote(unit) for unit in itertools.islice(remaining, 1)]
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise InputError(_KILLED) from error
    finally:
        if start_ray:
            ray.shutdown()
