"""The rank without a heartbeat is named."""

from __future__ import annotations

import time

import pytest
import torch.distributed as dist

from lightning_n2m.callbacks.rank_monitor import Heartbeats, RankMonitor, is_communication_error
from lightning_n2m.errors import TrainingFailure


def test_a_rank_that_stops_is_silent_and_the_others_are_not() -> None:
    store = dist.HashStore()
    ranks = [Heartbeats(store, rank, 3) for rank in range(3)]
    for _ in range(3):
        for rank in ranks:
            rank.beat()
    ranks[0].beat()
    time.sleep(0.2)
    ranks[1].beat()
    ranks[0].beat()
    assert ranks[0].silent(0.1) == [2]
    assert ranks[0].silent(10) == []


def test_errors_of_the_communication_are_known() -> None:
    closed = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:20161")
    assert is_communication_error(closed)
    assert not is_communication_error(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_communication_error(ValueError("timed out"))


def test_an_error_of_the_communication_names_the_dead_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_n2m.callbacks.rank_monitor.SILENCE", 0.05)

    class Trainer:
        global_rank = 0

    monitor = RankMonitor()
    monitor._heartbeats = Heartbeats(dist.HashStore(), 0, 2)
    with pytest.raises(TrainingFailure, match="Rank 1 has ended or lost its connection to rank 0"):
        monitor.on_exception(Trainer(), None, RuntimeError("Connection reset by peer"))  # type: ignore[arg-type]
    monitor.on_exception(Trainer(), None, ValueError("another error"))  # type: ignore[arg-type]
