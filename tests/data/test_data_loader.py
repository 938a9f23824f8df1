"""Errors of loader workers arrive as one line."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lightning_n2m.data.data_loader import Loader
from lightning_n2m.errors import InputError, TrainingFailure


class Numbers(IterableDataset):
    """Three numbers, and then an event in the worker."""

    def __init__(self, event: str) -> None:
        self.event = event

    def __iter__(self) -> Iterator[int]:
        yield from range(3)
        if self.event == "killed":
            assert get_worker_info() is not None, "a test that kills must run in a worker"
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.event == "wrong input":
            raise InputError("Shard a.tar is damaged; build it again.")
        elif self.event == "bug":
            raise RuntimeError("an error of ours")


@pytest.mark.parametrize("workers", [0, 1])
def test_wrong_input_in_a_worker_arrives_as_its_own_message(workers: int) -> None:
    with pytest.raises(InputError) as error:
        list(Loader(Numbers("wrong input"), batch_size=1, num_workers=workers))
    assert str(error.value) == "Shard a.tar is damaged; build it again."


def test_a_killed_worker_ends_the_training_with_one_line() -> None:
    batches = iter(Loader(Numbers("killed"), batch_size=1, num_workers=1, prefetch_factor=1))
    with pytest.raises(TrainingFailure, match="killed, most likely because memory ran out") as error:
        list(batches)
    assert "\n" not in str(error.value)
    assert "--ckpt_path last" in str(error.value)


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_killed_while_it_hands_over_a_batch_is_reported_alike(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: DataLoader) -> Iterator[int]:
        raise error
        yield

    monkeypatch.setattr(DataLoader, "__iter__", broken)
    with pytest.raises(TrainingFailure, match="was killed"):
        next(iter(Loader(Numbers("end"), batch_size=1, num_workers=1)))
    with pytest.raises(type(error)):
        next(iter(Loader(Numbers("end"), batch_size=1, num_workers=0)))


def test_an_error_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="an error of ours"):
        list(Loader(Numbers("bug"), batch_size=1, num_workers=1))


class Interrupts(IterableDataset):
    """Whether the worker ignores Ctrl-C: while it is started, and while it reads."""

    def __setstate__(self, state: dict[str, bool]) -> None:
        self.at_start = signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    def __getstate__(self) -> dict[str, bool]:
        return {"any": True}

    def __iter__(self) -> Iterator[bool]:
        yield self.at_start
        yield signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def ignored_interrupts() -> tuple[list[bool], bool]:
    """What a worker ignores, and whether this process handles Ctrl-C as before."""
    before = signal.getsignal(signal.SIGINT)
    ignored = list(Loader(Interrupts(), batch_size=None, num_workers=1))
    return ignored, signal.getsignal(signal.SIGINT) is before


def test_workers_leave_ctrl_c_to_the_training() -> None:
    # In a new process: the fork server of this one may have been started by another test.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(ignored_interrupts).result() == ([True, True], True)


def test_the_time_that_training_waits_is_counted() -> None:
    loader = Loader(Numbers("end"), batch_size=1)
    assert len(list(loader)) == 3
    assert loader.waited > 0
