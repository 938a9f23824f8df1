"""Shards from strangers: no link, device, bomb or foreign path gets past the reader."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_n2m.audio.io import encode
from lightning_n2m.data.schema import read_index
from lightning_n2m.data.shard_reader import ShardFile, read_shard
from lightning_n2m.errors import InputError
from tests.data.conftest import clip_of, noise


@pytest.fixture
def file(build: Callable[..., Path]) -> ShardFile:
    folder = build([2])
    return ShardFile(folder, read_index(folder).shards[0])


@pytest.fixture
def time_limit() -> Iterator[None]:
    """A test that hangs fails after 20 s."""
    signal.alarm(20)  # Its default action ends the process, so that a hang cannot go unseen.
    yield
    signal.alarm(0)


def refusal(file: ShardFile) -> str:
    with pytest.raises(InputError) as error:
        list(read_shard(file))
    message = str(error.value)
    assert message.isprintable()
    assert str(file.path) in message
    return message


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: object) -> bytes:
    """Header and padded content of one member."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    padding = b"\0" * (-len(data) % 512)
    return info.tobuf(tarfile.GNU_FORMAT) + data + padding


@pytest.mark.parametrize(
    "hostile",
    [
        member("x.json", tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("x.json", tarfile.LNKTYPE, linkname="../../secret"),
        member("x.json", tarfile.FIFOTYPE),
        member("x.json", tarfile.CHRTYPE, devmajor=1, devminor=5),
        member("x.json", tarfile.GNUTYPE_SPARSE),
        member("x.json", size=1 << 40),
        member("x.json", size=1 << 62),
        member("x\x1b[31m.json", size=1 << 40),
    ],
    ids=["symlink", "hard link", "fifo", "device", "sparse", "1 TB", "4 EB", "control characters"],
)
def test_a_hostile_member_is_refused(file: ShardFile, hostile: bytes) -> None:
    data = Path(file.path).read_bytes()
    Path(file.path).write_bytes(hostile + data)
    assert "damaged after 0 clips" in refusal(file)


@pytest.mark.usefixtures("time_limit")
def test_a_negative_size_does_not_repeat_a_header_without_end(file: ShardFile) -> None:
    data = Path(file.path).read_bytes()
    looping = member("y.txt", data=b"x" * 512) + member("x.txt", size=-1024)
    Path(file.path).write_bytes(looping + data)
    assert "not valid" in refusal(file)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
@pytest.mark.usefixtures("time_limit")
def test_a_special_file_in_place_of_a_shard_or_its_captions_is_refused(file: ShardFile, kind: str) -> None:
    for path in (Path(file.path), Path(file.captions)):
        path.unlink(missing_ok=True)
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
            if path != Path(file.path):
                return  # a folder in place of the captions is the same as no captions
        with pytest.raises(InputError, match=path.name):
            list(read_shard(file))
        if kind == "folder":
            path.rmdir()
        else:
            path.unlink()
        _write_clips(file, [clip_of("a")])


def _write_clips(file: ShardFile, clips: list, audio: bytes | None = None, names: list | None = None) -> None:
    with tarfile.open(file.path, "w") as tar:
        for index, clip in enumerate(clips):
            key = names[index] if names else clip.key
            for ending, data in (("flac", audio or encode(noise(0, 0.05), 24_000)), ("json", clip.to_json())):
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("track", ["../../x", "/etc/x", "a/b", "a\nb", "a\x00b", "", "-rf", "x" * 65, "é"])
def test_a_key_that_is_unsafe_as_a_file_name_is_refused(file: ShardFile, track: str) -> None:
    clip = clip_of(track)
    with tarfile.open(file.path, "w") as tar:
        for ending, data in (("flac", b"x"), ("json", clip.to_json())):
            info = tarfile.TarInfo(f"a-00.{ending}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert "track_id" in refusal(file)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip", -1), ("clip", 1.5), ("clip", 10**9), ("duration_s", 0), ("duration_s", -1),
        ("duration_s", 1e9), ("duration_s", float("nan")), ("start_s", float("inf")), ("sample_rate", 0),
        ("sample_rate", 10**9), ("title", None), ("title", 3), ("title", "x" * 100_000), ("genres", "rock"),
        ("genres", [1]), ("tags", ["x"] * 20_000), ("truth", []), ("split", "eval"), ("split", ["train"]),
    ],
)  # fmt: skip
def test_a_field_out_of_its_range_is_named(file: ShardFile, field: str, value: object) -> None:
    file = dataclasses.replace(file, shard=dataclasses.replace(file.shard, bytes=1 << 20))
    fields = json.loads(clip_of("a").to_json()) | {field: value}
    with tarfile.open(file.path, "w") as tar:
        for ending, data in (("flac", b"x"), ("json", json.dumps(fields).encode())):
            info = tarfile.TarInfo(f"a-00.{ending}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert f"({field} " in refusal(file)


def test_clips_that_promise_more_seconds_than_the_index_are_refused(file: ShardFile) -> None:
    _write_clips(file, [dataclasses.replace(clip_of("a"), duration_s=3000.0), clip_of("b")])
    assert "longer than the 0.1 s" in refusal(file)


def test_a_clip_that_comes_twice_is_refused(file: ShardFile) -> None:
    _write_clips(file, [clip_of("a"), clip_of("b"), clip_of("a")])
    wide = dataclasses.replace(file, shard=dataclasses.replace(file.shard, clips=3, seconds=1.0))
    assert "in it twice" in refusal(wide)
