"""The loader of batches: it measures how long training waits, and its workers end together with it."""

from __future__ import annotations

import os
import re
import select
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from typing import Any

from torch.utils.data import DataLoader

from lightning_n2m.errors import InputError, TrainingFailure

_WORKER = "DataLoader worker"  # PyTorch's words in every error of a worker.


class Loader(DataLoader):
    """A `torch.utils.data.DataLoader` whose workers are started by a fork server.

    Forked workers deadlock on the locks of audio and thread libraries that the parent held. But a
    worker that a fork server started outlives a killed training, and keeps its memory and its open files:
    PyTorch watches the parent process, which is the fork server, and that lives as long as its workers.
    Here workers watch the training process instead.

    Args:
        args: See `torch.utils.data.DataLoader`.
        kwargs: See there.

    Attributes:
        waited: Seconds that training has waited for batches.
    """

    waited = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("num_workers"):
            kwargs |= {"multiprocessing_context": "forkserver", "worker_init_fn": EndWith(os.getpid())}
        super().__init__(*args, **kwargs)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches in order.

        Raises:
            InputError: if a worker cannot read its shards.
            TrainingFailure: if a worker was killed.
        """
        if self.num_workers:
            _start_fork_server()
        batches = super().__iter__()
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches, None)
            except InputError as error:
                raise _without_traceback(error) from error
            except (RuntimeError, ConnectionError, EOFError) as error:
                if not (self.num_workers and _comes_from_a_killed_worker(error)):
                    raise
                raise TrainingFailure(
                    "A worker process of the data loader was killed, most likely because memory ran out; "
                    "lower data.num_workers or data.shuffle_shards, then resume with --ckpt_path last."
                ) from error
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch


def _start_fork_server() -> None:
    """Start the fork server so that its workers ignore Ctrl-C, which a terminal sends to all processes.

    The training process decides what an interrupt ends; a worker would print a traceback. Python keeps an
    ignored signal ignored in a program that it starts, and the workers get the state of the fork server.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _comes_from_a_killed_worker(error: Exception) -> bool:
    if isinstance(error, RuntimeError):
        return str(error).startswith(_WORKER) and bool(re.search("killed|exited", str(error)))
    # The worker died while it handed over a batch. An error of its own would name the worker.
    return _WORKER not in str(error)


def _without_traceback(error: InputError) -> InputError:
    """PyTorch puts the traceback of a worker in front of the message; `InputError` escapes its line ends."""
    text = str(error)
    if _WORKER not in text:
        return error
    return InputError(text.rpartition(f"{type(error).__name__}: ")[2].removesuffix("\\n"))


class EndWith:
    """Ends the process that calls it as soon as another process has ended, even by SIGKILL.

    Args:
        process: Number of the other process.
    """

    def __init__(self, process: int) -> None:
        self.process = process

    def __call__(self, worker: int) -> None:
        """Start to watch the other process, in a thread, and leave Ctrl-C to it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # in case the fork server was started elsewhere
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        try:
            select.select([os.pidfd_open(self.process)], [], [])
        except ProcessLookupError:
            pass
        except (AttributeError, OSError):  # not Linux, or an old kernel
            while _exists(self.process):
                time.sleep(1)
        os._exit(1)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
