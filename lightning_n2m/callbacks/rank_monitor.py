"""Names the rank that died or froze, on all other ranks of a distributed training."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from lightning_n2m.errors import TrainingFailure

INTERVAL = 1.0  # seconds between two heartbeats
SILENCE = 5.0  # seconds without a heartbeat after which a rank counts as dead, once communication failed
_COMMUNICATION = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed out|socket", re.IGNORECASE
)


class Heartbeats:
    """A counter for each rank in the store that the ranks share.

    Args:
        store: The store.
        rank: This rank.
        world_size: Number of ranks.
    """

    def __init__(self, store: Any, rank: int, world_size: int) -> None:
        self.store, self.rank = store, rank
        self.others = [other for other in range(world_size) if other != rank]
        self._counts = dict.fromkeys(self.others, -1)
        self._changed = dict.fromkeys(self.others, time.monotonic())

    def beat(self) -> None:
        """Count this rank up, and read the counters of the others."""
        self.store.add(str(self.rank), 1)
        for other in self.others:
            count = self.store.add(str(other), 0)
            if count != self._counts[other]:
                self._counts[other] = count
                self._changed[other] = time.monotonic()

    def silent(self, seconds: float) -> list[int]:
        """Ranks whose counter has not changed for a time."""
        return [other for other in self.others if time.monotonic() - self._changed[other] > seconds]


class RankMonitor(Callback):
    """Ends a distributed training with one line if one of its ranks dies or stops to respond.

    Every rank sends a heartbeat each second. If communication fails, the rank without heartbeat is named. A
    rank that is frozen keeps its connections, so that the others would wait for it.

    Args:
        timeout: Seconds without a heartbeat after which the training ends.
    """

    def __init__(self, timeout: float = 600.0) -> None:
        self.timeout = timeout
        self._heartbeats: Heartbeats | None = None
        self._stopped = threading.Event()
        self._has_store = True

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start the heartbeat of this rank."""
        if trainer.world_size == 1 or not dist.is_initialized():
            return
        store = dist.PrefixStore("heartbeat", dist.distributed_c10d._get_default_store())
        self._heartbeats = Heartbeats(store, trainer.global_rank, trainer.world_size)
        threading.Thread(target=self._watch, args=(self._heartbeats,), daemon=True).start()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Stop the heartbeat."""
        self._stopped.set()

    def _watch(self, heartbeats: Heartbeats) -> None:
        while not self._stopped.wait(INTERVAL):
            try:
                heartbeats.beat()
            except Exception:
                self._has_store = False  # The process that holds the store has ended.
                return
            if silent := heartbeats.silent(self.timeout):
                print(
                    f"error: Rank {silent[0]} has not responded for {self.timeout:g} s (ranks.timeout); the "
                    "training ends. --ckpt_path last resumes.",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Replace an error of the communication by one line that names the rank that caused it.

        Raises:
            TrainingFailure: if communication with another rank failed.
        """
        if self._heartbeats is None or not is_communication_error(exception):
            return
        end = time.monotonic() + SILENCE + 2 * INTERVAL
        while self._has_store and not self._heartbeats.silent(SILENCE) and time.monotonic() < end:
            time.sleep(INTERVAL / 4)
        silent = self._heartbeats.silent(SILENCE)
        if silent:
            name = f"Rank {silent[0]}"
        else:
            name = "Another rank" if self._has_store else "Rank 0, or the process that started the ranks,"
        self._stopped.set()
        raise TrainingFailure(
            f"{name} has ended or lost its connection to rank {trainer.global_rank}, so the training ends; "
            "see its output for the cause. --ckpt_path last resumes."
        ) from None


def is_communication_error(error: BaseException) -> bool:
    """Whether an error comes from the communication between ranks."""
    return isinstance(error, RuntimeError) and bool(_COMMUNICATION.search(str(error)))
