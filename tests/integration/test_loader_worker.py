"""A loader worker that is killed, as the kernel does when memory runs out, ends the run with one line."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.integration.test_interruption import start


def children(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="it needs Linux")
def test_a_killed_worker_ends_the_run_with_one_line(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(
        shards,
        run,
        "--data.num_workers=1",
        "--trainer.max_steps=2500",
        "--trainer.val_check_interval=2500",
    )
    deadline = time.monotonic() + 240
    while not (run / "checkpoints/last.ckpt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the training writes no checkpoint"
        time.sleep(0.1)
    # Workers are children of the fork server, which is a child of the training.
    workers = [worker for child in children(process.pid) for worker in children(child)]
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("error: A worker process of the data loader was killed")
    torch.load(run / "checkpoints/last.ckpt", weights_only=True)
