"""SIGKILL at random moments: nothing is lost or repeated, and finished work is not done again.

KILLS=200 SEED=1 pytest tests/integration/test_pipeline_kills.py kills more often, at other moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_pipeline.__main__ import main
from tests.data_pipeline.conftest import tree

KILLS = int(os.environ.get("KILLS", "5"))
SEED = int(os.environ.get("SEED", "0"))
SETTINGS = ["--clip-seconds", "9", "--clips-per-track", "3", "--tracks-per-shard", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("extends", [False, True])
def test_the_shards_of_a_job_killed_at_random_are_those_of_one_that_was_not(
    manifest: Path, tmp_path: Path, extends: bool
) -> None:
    arguments = ["shard", "--manifest", str(manifest), *SETTINGS]
    first_tracks = tmp_path / "first.jsonl"
    first_tracks.write_text("".join(manifest.read_text().splitlines(keepends=True)[:5]))

    def prepare(folder: Path) -> None:
        """Build the first tracks, which the killed job then extends."""
        if extends:
            first = ["shard", "--manifest", str(first_tracks), *SETTINGS, "--output", str(folder)]
            assert main([*first, "--workers", "1"]) == 0

    whole = tmp_path / "whole"
    prepare(whole)
    assert main([*arguments, "--output", str(whole), "--workers", "1"]) == 0
    wanted = tree(whole)
    draw = random.Random(SEED)
    kills = rounds = 0
    while kills < (KILLS // 2 if extends else KILLS):
        rounds += 1
        folder = tmp_path / f"killed{rounds}"
        prepare(folder)
        command = [sys.executable, "-m", "data_pipeline", *arguments, "--output", str(folder)]
        longest, done = 3.0, {}
        while True:
            began = time.monotonic()
            workers = ["--workers", str(draw.choice((1, 2)))]
            with subprocess.Popen(
                [*command, *workers], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            ) as job:
                try:
                    job.wait(draw.uniform(0, longest))
                except subprocess.TimeoutExpired:
                    done = finished(folder)
                    job.send_signal(signal.SIGKILL)
                    killed = job.wait() == -signal.SIGKILL
                else:
                    killed = False
            if not killed:
                assert job.returncode == 0
                break
            kills += 1
            # Workers outlive the main process by a moment; what was finished before must stay as it was.
            assert {path: finished(folder).get(path) for path in done} == done
            # On a slow machine a kill may come before any progress: later kills wait longer.
            longest += 0.25 * (time.monotonic() - began)
        assert {path: finished(folder).get(path) for path in done} == done, "a finished shard was built again"
        assert tree(folder) == wanted


def finished(folder: Path) -> dict[str, int]:
    """Shards whose records exist, and the times at which the shards were written."""
    records = folder.glob("records/audio-*.json")
    shards = [folder / f"{record.stem}.tar" for record in records]
    return {shard.name: shard.stat().st_mtime_ns for shard in shards}
