"""When one of two ranks dies or freezes, the other one ends with a line that names it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import ROOT, tiny


def start_ranks(shards: Path, run: Path, logs: Path, *more: str) -> list[subprocess.Popen[bytes]]:
    """Start a long training on two ranks, without a launcher that would end the others itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--config={ROOT / 'configs/trainer/ddp.yaml'}", "--trainer.accelerator=cpu"]
    options += ["--trainer.precision=32-true", "--trainer.devices=2", "--trainer.max_steps=2000"]
    options += ["--samples.clips=0", "--trainer.limit_val_batches=0", "--checkpoint.every_n_train_steps=1"]
    command = [sys.executable, "-m", "lightning_n2m", "fit"]
    command += tiny("super_resolution", shards, run, *options, *more)
    processes = []
    for rank in range(2):
        environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "OMP_NUM_THREADS": "1"}
        environment |= {"TORCHELASTIC_RUN_ID": "test", "LOCAL_WORLD_SIZE": "2"}
        with (logs / f"rank{rank}").open("wb") as log:
            processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
    return processes


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "freezes"])
def test_the_other_rank_names_the_one_that(shards: Path, tmp_path: Path, how: str) -> None:
    ranks = start_ranks(shards, tmp_path / "run", tmp_path, "--ranks.timeout=8")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    try:
        while ranks[0].poll() is None and not last.is_file():
            time.sleep(0.1)
        ranks[1].send_signal(signal.SIGKILL if how == "dies" else signal.SIGSTOP)
        code = ranks[0].wait(timeout=120)
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    output = (tmp_path / "rank0").read_text()
    message = "Rank 1 has ended" if how == "dies" else "Rank 1 has not responded for 8 s (ranks.timeout)"
    assert code == 1, output[-3000:]
    assert output.splitlines()[-1].startswith(f"error: {message}"), output[-3000:]
    assert "Traceback" not in output
    assert torch.load(last, weights_only=True)["global_step"] > 0
