"""Local copies of shards that were downloaded."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import fsspec
import pytest

from lightning_n2m.data.cache import Cache
from lightning_n2m.data.schema import read_index
from lightning_n2m.data.shard_reader import ShardFile, read_shard
from lightning_n2m.data.shard_sources import find_sources
from lightning_n2m.errors import InputError


def test_a_cached_shard_is_not_downloaded_again(remote, tmp_path):
    _, url = remote
    cache = Cache(str(tmp_path / "cache"))
    (source,) = find_sources(url, "train", cache=cache)
    first = [raw.clip.key for file in source.files for raw in read_shard(file)]
    fsspec.filesystem("memory").rm([f"/far/shards/{file.shard.name}" for file in source.files])
    assert [raw.clip.key for file in source.files for raw in read_shard(file)] == first


def test_a_damaged_download_is_not_kept(remote, tmp_path):
    _, url = remote
    cache = Cache(str(tmp_path / "cache"))
    (source,) = find_sources(url, "train", cache=cache)
    fsspec.filesystem("memory").pipe_file(f"/far/shards/{source.files[0].shard.name}", b"something else")
    with pytest.raises(InputError, match="differs from its index"):
        list(read_shard(source.files[0]))
    assert list(Path(cache.folder).iterdir()) == []


def test_a_full_cache_removes_the_least_recently_read_shards(remote, tmp_path):
    _, url = remote
    (source,) = find_sources(url, "train")
    sizes = [file.shard.bytes for file in source.files]
    cache = Cache(str(tmp_path / "cache"), (sizes[0] + sizes[1] + sizes[2]) / 1e9)
    files = [dataclasses.replace(file, cache=cache) for file in source.files]
    for age, file in enumerate(files[:3]):
        list(read_shard(file))
        os.utime(tmp_path / "cache" / f"{file.shard.sha256}.tar", (age, age))
    list(read_shard(files[0]))  # now the one that was read last
    list(read_shard(files[3]))
    kept = {path.stem for path in (tmp_path / "cache").iterdir()}
    assert files[1].shard.sha256 not in kept
    assert {files[0].shard.sha256, files[3].shard.sha256} <= kept


def test_a_shard_of_a_local_folder_is_not_cached(build, tmp_path):
    folder = build([2])
    file = ShardFile(folder, read_index(folder).shards[0], cache=Cache(str(tmp_path / "cache")))
    assert len(list(read_shard(file))) == 2
    assert not (tmp_path / "cache").exists()
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="damaged after 0 clips"):
        list(read_shard(file))


def test_a_download_ends_at_the_size_of_the_index(remote, tmp_path):
    """A server that sends without end, or an object that grew, cannot fill the disk."""
    _, url = remote
    cache = Cache(str(tmp_path / "cache"))
    (source,) = find_sources(url, "train", cache=cache)
    shard = source.files[0].shard
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"/far/shards/{shard.name}", memory.cat(f"/far/shards/{shard.name}") + b"x" * 10_000_000)
    written = []
    original = Path.unlink

    def unlink(path, missing_ok=False):
        if path.exists():
            written.append(path.stat().st_size)
        original(path, missing_ok=missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(InputError, match="differs from its index"):
            list(read_shard(source.files[0]))
    assert written == [shard.bytes + 1]


def test_a_link_in_place_of_a_temporary_file_is_not_followed(remote, tmp_path, monkeypatch):
    _, url = remote
    cache = Cache(str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "victim").write_bytes(b"precious")
    (source,) = find_sources(url, "train", cache=cache)
    monkeypatch.setattr("secrets.token_hex", lambda count: "00" * count)
    part = f".{source.files[0].shard.sha256}.tar.{'00' * 6}.part"
    (tmp_path / "cache" / part).symlink_to(tmp_path / "victim")
    with pytest.raises((InputError, FileExistsError)):
        list(read_shard(source.files[0]))
    assert (tmp_path / "victim").read_bytes() == b"precious"
