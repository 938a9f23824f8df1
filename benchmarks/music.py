"""Music to measure on: that of the starter corpus where it was built, else the few clips of the tests."""

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


def recorded() -> tuple[Path, str]:
    """A folder of recorded music, and what it is called in questions."""
    folder = BUILT / "music/recorded"
    return (folder, "recorded music") if folder.is_dir() else (ROOT / "tests/clips", "twelve clips")


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
