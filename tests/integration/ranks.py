"""Runs several trainings one after another on several ranks, started by torchrun as on a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from lightning_n2m.cli.main import main


def launch(ranks: int, commands: Sequence[Sequence[str]], root: Path) -> None:
    """Run command lines of ``python -m lightning_n2m`` on gloo processes of one thread each."""
    torchrun = [
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={ranks}",
        "-m",
        "tests.integration.ranks",
    ]
    done = subprocess.run(
        [sys.executable, "-m", *torchrun, json.dumps(commands)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-15000:]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for command in json.loads(sys.argv[1]):
        main(command)
