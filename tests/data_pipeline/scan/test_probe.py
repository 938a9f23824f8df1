"""Files are read to their end, in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipeline.scan.file_scan import SourceFile
from data_pipeline.scan.probe import probe
from data_pipeline.scan.track import Rejected
from tests.data_pipeline.manifests import run


def test_a_file_that_ends_before_its_header_says_is_left_out(music: Path, tmp_path: Path) -> None:
    path = music / "cut.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=24_000 * 70), 24_000)
    path.write_bytes(path.read_bytes()[:-400_000])
    tracks, rejected = run(music, tmp_path / "manifest.jsonl")
    assert len(tracks) == 4
    assert rejected == {"cut.flac": "unreadable"}


def test_a_file_without_its_header_is_unreadable_not_short(tmp_path: Path) -> None:
    path = tmp_path / "tail.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=24_000 * 3), 24_000)
    path.write_bytes(path.read_bytes()[5_000:])
    result = probe(SourceFile(str(path), path.name), "", 20.0).result
    assert isinstance(result, Rejected)
    assert result.reason == "unreadable"


@pytest.mark.slow  # It decodes thirteen minutes of audio in a process of its own.
def test_memory_does_not_grow_with_the_length_of_a_track(tmp_path: Path) -> None:
    """The same process reads 1 and then 12 minutes; its peak memory may grow by a few megabytes only."""
    for name, minutes in (("a.wav", 1), ("b.wav", 12)):
        with soundfile.SoundFile(tmp_path / name, "w", 16_000, 2) as file:
            for minute in range(minutes):
                file.write(0.1 * np.random.default_rng(minute).normal(size=(16_000 * 60, 2)))
    code = (
        "import re, sys\n"
        "from data_pipeline.scan.file_scan import SourceFile\n"
        "from data_pipeline.scan.probe import probe\n"
        "for path in sys.argv[1:]:\n"
        "    track = probe(SourceFile(path, path), '', 1).result\n"
        # Not ru_maxrss: it begins with the size of the process that started this one.
        "    print(track.frames, re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (_, short), (frames, long) = (map(int, line.split()) for line in output.splitlines())
    assert frames == 16_000 * 60 * 12
    assert long - short < 40_000, "kilobytes"
    assert long < 1_000_000
