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

from lightning_n2m.audio.io import encode, read
from lightning_n2m.data.schema import read_index
from lightning_n2m.data.shard_reader import ShardFile, find_shards, read_shard
from lightning_n2m.errors import InputError
from tests.data.conftest import clip_of, noise, refused


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


def test_clips_come_with_their_captions_and_origin(build):
    folder = build([2, 3], captions=True)
    raws = [raw for file in find_shards([folder], "train") for raw in read_shard(file)]
    assert [raw.clip.key for raw in raws] == [
        f"shards{s:02d}x{i:02d}-00" for s, n in ((0, 2), (1, 3)) for i in range(n)
    ]
    assert all(raw.captions.long == (f"A song called {raw.clip.key}.",) for raw in raws)
    assert raws[0].shard == str(folder / "audio-000000.tar")
    assert read(raws[0].audio).samples.shape == (1, 1200)


def test_several_folders_are_one_collection(build):
    one, other = build([1, 1], "one"), build([2], "other")
    build([1], "validation", split="validation")
    files = find_shards([one, str(other)], "train")
    assert [file.path for file in files] == [
        one / "audio-000000.tar", one / "audio-000001.tar", other / "audio-000000.tar",
    ]  # fmt: skip


def test_a_missing_folder_and_a_missing_split_are_refused(build, tmp_path):
    folder = build([1])
    refused(lambda: find_shards([folder, tmp_path / "nowhere"], "train"), "nowhere")
    refused(lambda: find_shards([folder], "validation"), str(folder), "no validation clips")


def test_a_missing_shard_is_refused(shard):
    shard.path.unlink()
    refused(lambda: list(read_shard(shard)), str(shard.path), "No such file")


@pytest.mark.parametrize("size", [0, 100, 3000, 5000, 10_000])
def test_a_shard_cut_short_is_refused(shard, size):
    shard.path.write_bytes(shard.path.read_bytes()[:size])
    refused(lambda: list(read_shard(shard)), str(shard.path))


def test_a_shard_that_is_no_tar_is_refused(shard):
    shard.path.write_bytes(b"not a tar file at all" * 100)
    refused(lambda: list(read_shard(shard)), str(shard.path))


@pytest.mark.parametrize("listed", [3, 5])
def test_a_shard_whose_count_is_not_that_of_the_index_is_refused(shard, listed):
    wrong = ShardFile(shard.folder, type(shard.shard)(**{**vars(shard.shard), "clips": listed}))
    refused(lambda: list(read_shard(wrong)), "holds 4 clips", f"index says {listed}")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a-00.flac", b"x")], "a-00 has no json"),
        (
            [("a-00.json", b'{"track_id": "a", "clip": 0, "start_s": 0, "duration_s": 1, "sample_rate": 1}')],
            "a-00 has no audio",
        ),
        ([("a-00.flac", b"x"), ("a-00.json", b"{")], "not JSON"),
        ([("a-00.flac", b"x"), ("a-00.json", b'{"track_id": "a"}')], "clip"),
        ([("a-00.flac", b"x"), ("a-00.flac", b"x")], "duplicate"),
    ],
    ids=["no json", "no audio", "bad json", "missing fields", "twice"],
)
def test_a_shard_that_breaks_the_contract_is_refused(shard, write_tar, members, reason):
    write_tar(shard.path, members)
    refused(lambda: list(read_shard(shard)), str(shard.path), reason)


def test_a_damaged_caption_file_is_refused(shard):
    (shard.folder / "captions-000000.jsonl").write_text("{")
    refused(lambda: list(read_shard(shard)), "captions-000000.jsonl", "line 1")


def test_a_damaged_index_is_refused(build):
    folder = build([1])
    (folder / "index.json").write_text((folder / "index.json").read_text()[:-30])
    refused(lambda: find_shards([folder], "train"), "index.json", "damaged")
