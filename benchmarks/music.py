"""The starter corpus as music for benchmarks, and the cost of a command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILT = Path(os.environ.get("STARTER", ROOT / "build/starter"))


def corpus() -> Path:
    """Folder of the starter corpus with its shards, which are built if they are missing."""
    command = ["make", f"BUILD={BUILT}", f"{BUILT}/shards/index.json"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return BUILT


@dataclass(frozen=True)
class Cost:
    """Cost of a command: seconds, and the largest peak memory of one of its processes in MB."""

    seconds: float
    megabytes: float


def run(command: Sequence[str | Path]) -> Cost:
    """Run a command on one thread and measure its cost."""
    began = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    job = subprocess.Popen(
        list(map(str, command)), env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert job.stderr is not None
    errors = job.stderr.read().decode()
    _, status, usage = os.wait4(job.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{errors}")
    return Cost(time.perf_counter() - began, usage.ru_maxrss / 1024)


def pipeline(*arguments: str | Path) -> Cost:
    """Run a command of the data pipeline and measure its cost."""
    return run([sys.executable, "-m", "data_pipeline", *arguments])
