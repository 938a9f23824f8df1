"""Shards survive a kill, and tracks that became unreadable are skipped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_pipeline.__main__ import main
from lightning_n2m.data.schema import read_index
from tests.data_pipeline.conftest import tree
from tests.data_pipeline.shard_folders import SHORT, shard


def test_a_killed_job_resumes(manifest: Path, shards: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "data_pipeline",
        "shard",
        "--manifest",
        manifest,
        "--output",
        tmp_path,
        "--workers",
        "1",
    ]
    job = subprocess.Popen([*map(str, command), *SHORT], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    give_up = time.monotonic() + 60
    while len(list(tmp_path.glob("records/audio-*.json"))) < 2 and job.poll() is None:
        assert time.monotonic() < give_up, "the job makes no shards"
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL, "the job was over before it could be killed"
    assert not (tmp_path / "index.json").exists()
    # What a kill in the middle of a file leaves behind.
    (tmp_path / ".audio-000004.tar.12345.part").write_bytes(b"half")
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("audio-*.tar")}
    assert shard(manifest, tmp_path, *SHORT) == 0
    assert tree(tmp_path) == tree(shards)
    kept = [path for path in done if path.stat().st_mtime_ns == done[path]]
    assert len(kept) >= 2, "finished shards were made again"


def test_a_finished_folder_is_left_as_it_is_and_a_lost_shard_comes_back(
    manifest: Path, shards: Path, tmp_path: Path
) -> None:
    shutil.copytree(shards, tmp_path / "copy")
    (tmp_path / "copy/audio-000001.tar").unlink()
    whole = tmp_path / "copy/audio-000002.tar"
    os.truncate(whole, 1000)
    untouched = (tmp_path / "copy/audio-000000.tar").stat().st_mtime_ns
    assert shard(manifest, tmp_path / "copy", *SHORT) == 0
    assert tree(tmp_path / "copy") == tree(shards)
    assert (tmp_path / "copy/audio-000000.tar").stat().st_mtime_ns == untouched


def test_a_track_that_became_unreadable_is_named_and_the_run_continues(music: Path, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").parent.mkdir(exist_ok=True)
    main(["manifest", "--source", str(music), "--output", str(tmp_path / "m.jsonl"), "--workers", "1"])
    (music / "waltz/piece.ogg").write_bytes(b"overwritten")
    (music / "hymn/piece.ogg").unlink()
    shutil.copy(music / "techno/piece.ogg", music / "tango/piece.ogg")
    assert shard(tmp_path / "m.jsonl", tmp_path / "shards", *SHORT) == 0
    lines = [json.loads(line) for line in (tmp_path / "shards/rejected.jsonl").read_text().splitlines()]
    assert sorted(line["path"] for line in lines) == ["hymn/piece.ogg", "tango/piece.ogg", "waltz/piece.ogg"]
    assert sum(item.clips for item in read_index(tmp_path / "shards").shards) == 3
    assert str(music) not in (tmp_path / "shards/rejected.jsonl").read_text()


@pytest.mark.parametrize(("share", "is_named"), [("1e-9", True), ("0", False)])
def test_a_split_that_got_no_track_is_named(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], share: str, is_named: bool
) -> None:
    assert shard(manifest, tmp_path, *SHORT, "--validation", share, "--test", "0") == 0
    assert ("No track was drawn for validation:" in capsys.readouterr().out) == is_named
