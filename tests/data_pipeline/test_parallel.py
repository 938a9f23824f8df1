"""The same bytes from every engine, number of workers, kind of storage; and what settings change."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from data_pipeline.__main__ import main
from data_pipeline.parallel import run
from data_pipeline.scan.track import read_manifest
from lightning_n2m.audio.io import read
from lightning_n2m.data.schema import read_index
from lightning_n2m.data.shard_reader import ShardFile, read_shard
from lightning_n2m.errors import InputError
from tests.data_pipeline.conftest import CLIPS, tree

SHORT = ["--clip-seconds", "8", "--clips-per-track", "2"]
METADATA = ["--metadata", str(CLIPS / "metadata.jsonl")]


def shard(manifest: Path, output: Path | str, *more: str) -> None:
    assert main(["shard", "--manifest", str(manifest), "--output", str(output), *SHORT, *more]) == 0


@pytest.fixture(scope="module")
def shards(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("local")
    shard(manifest, output, "--workers", "1", "--derive", "mel")
    return output


# Ray ---------------------------------------------------------------------------------------------


@pytest.fixture
def ray_session() -> Iterator[None]:
    """Ray on two cores of this machine; starting it takes longer than the work."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_ray_makes_the_same_bytes_with_one_worker_and_with_two(
    manifest: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = ["--source", str(CLIPS), *METADATA, "--engine", "ray", "--workers", "2"]
    assert main(["manifest", *listed, "--output", str(tmp_path / "manifest.jsonl")]) == 0
    assert (tmp_path / "manifest.jsonl").read_bytes() == manifest.read_bytes()
    for workers in ("1", "2"):
        output = tmp_path / f"ray{workers}"
        shard(manifest, output, "--engine", "ray", "--workers", workers, "--derive", "mel")
        assert tree(output) == tree(shards)
    # What a worker finds wrong arrives as the one sentence that it is.
    (tmp_path / "ray2" / read_index(shards).shards[0].name).unlink()
    capsys.readouterr()
    assert main(["verify", "--shards", str(tmp_path / "ray2"), "--engine", "ray", "--workers", "1"]) == 2
    assert "missing" in capsys.readouterr().err


# Local processes ---------------------------------------------------------------------------------


def test_units_are_taken_only_as_workers_become_free() -> None:
    taken = 0

    def units():
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    results = run(abs, units(), workers=2)
    assert next(results) in range(1000)
    assert taken < 20
    assert len(list(results)) == 999


def fall(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_worker_ends_the_run_with_one_line() -> None:
    with pytest.raises(InputError, match="run the same command again"):
        list(run(fall, range(8), workers=2))


# Storage -----------------------------------------------------------------------------------------


def test_music_and_shards_may_lie_behind_urls(manifest: Path, shards: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(CLIPS), "/bucket/music", recursive=True)
    try:
        listed = ["--source", "memory://bucket/music", *METADATA, "--workers", "1"]
        assert main(["manifest", *listed, "--output", str(tmp_path / "m.jsonl")]) == 0
        here, there = read_manifest(manifest), read_manifest(tmp_path / "m.jsonl")
        assert [track.track_id for track in here] == [track.track_id for track in there]
        assert all(track.path.startswith("memory://bucket/music/") for track in there)
        shard(tmp_path / "m.jsonl", "memory://bucket/shards", "--workers", "1", "--derive", "mel")
        memory.get("/bucket/shards", str(tmp_path / "fetched"), recursive=True)
        assert tree(tmp_path / "fetched") == tree(shards)
        assert main(["verify", "--shards", "memory://bucket/shards", "--workers", "1"]) == 0
        # What is there is not made again, and what is lost is.
        lost = read_index(shards).shards[3].name
        memory.rm(f"/bucket/shards/{lost}")
        kept = {name: memory.created(name) for name in memory.glob("/bucket/shards/audio-*.tar")}
        shard(tmp_path / "m.jsonl", "memory://bucket/shards", "--workers", "1")
        assert memory.cat(f"/bucket/shards/{lost}") == (shards / lost).read_bytes()
        assert {name: memory.created(name) for name in kept} == kept
    finally:
        memory.rm("/bucket", recursive=True)


def test_a_bucket_out_of_reach_ends_the_run_and_a_lost_object_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("waltz", "hymn", "tango"):
        memory.put(str(CLIPS / f"{name}.ogg"), f"/lake/music/{name}.ogg")
    listed = ["--source", "memory://lake/music", "--output", str(tmp_path / "m.jsonl"), "--workers", "1"]
    assert main(["manifest", *listed]) == 0
    memory.rm("/lake/music/hymn.ogg")
    shard(tmp_path / "m.jsonl", tmp_path / "one", "--workers", "1")
    assert '"hymn.ogg"' in (tmp_path / "one/rejected.jsonl").read_text()
    memory.rm("/lake", recursive=True)
    more = ["--manifest", str(tmp_path / "m.jsonl"), "--output", str(tmp_path / "two"), "--workers", "1"]
    assert main(["shard", *more, *SHORT]) == 2
    assert "memory://lake cannot be reached" in capsys.readouterr().err


# Settings ----------------------------------------------------------------------------------------


def test_opus_clips_are_small_sound_alike_and_come_out_the_same_twice(
    manifest: Path, shards: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        shard(manifest, tmp_path / name, "--workers", "1", "--format", "opus", "--kbps", "64")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert main(["verify", "--shards", str(tmp_path / "one"), "--workers", "1"]) == 0
    total = [sum(shard.bytes for shard in read_index(place).shards) for place in (tmp_path / "one", shards)]
    assert total[0] < total[1] / 2
    for opus, flac in zip(read_index(tmp_path / "one").shards, read_index(shards).shards, strict=True):
        pairs = zip(
            read_shard(ShardFile(tmp_path / "one", opus)), read_shard(ShardFile(shards, flac)), strict=True
        )
        for lossy, lossless in pairs:
            one, other = (read(raw.audio).samples[0].numpy() for raw in (lossy, lossless))
            assert one.shape == other.shape
            assert np.corrcoef(one, other)[0, 1] > 0.9
