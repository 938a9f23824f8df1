"""Music to measure on, which is the starter corpus, and what a command costs on it."""

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
    """Where `make starter` works, with the corpus's shards, built where they are missing."""
    command = ["make", f"BUILD={BUILT}", f"{BUILT}/shards/index.json"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return BUILT


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds, and the most memory in MB that one of its processes held."""

    seconds: float
    megabytes: float


def run(command: Sequence[str | Path]) -> Cost:
    """Run a command on one thread, and measure it."""
    began = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    job = subprocess.Popen(
        list(map(str, command)), env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert job.stderr is not None
    said = job.stderr.read().decode()
    _, status, usage = os.wait4(job.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{said}")
    return Cost(time.perf_counter() - began, usage.ru_maxrss / 1024)


def pipeline(*arguments: str | Path) -> Cost:
    """Run one of the offline tools, and measure it."""
    return run([sys.executable, "-m", "data_pipeline", *arguments])
