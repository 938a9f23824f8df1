"""The loader of batches: it knows how long it keeps training waiting, and its workers end with it."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader


class Loader(DataLoader):
    """A `torch.utils.data.DataLoader` whose workers are started by a fork server.

    Forked workers deadlock on the locks of audio and thread libraries that the parent held. But a
    worker that a fork server started outlives a training that is killed, and keeps its memory and
    its open files for ever: PyTorch watches the parent, which is the fork server, and that lives as
    long as its workers do. Here they watch the training itself.

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
        """Batches, as they are asked for."""
        batches = super().__iter__()
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch


class EndWith:
    """Ends the process that calls it as soon as another one has ended, even by SIGKILL.

    Args:
        process: Number of the other process.
    """

    def __init__(self, process: int) -> None:
        self.process = process

    def __call__(self, worker: int) -> None:
        """Watch from now on, beside whatever else is done."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        try:
            select.select([os.pidfd_open(self.process)], [], [])
        except ProcessLookupError:
            pass
        except (AttributeError, OSError):  # not Linux, or an old kernel
            while _lives(self.process):
                time.sleep(1)
        os._exit(1)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
