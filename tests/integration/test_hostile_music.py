"""A folder of what real collections hold: all that can be used is used, all else is named."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipeline.__main__ import main
from data_pipeline.scan.track import read_manifest
from lightning_n2m.audio import ffmpeg
from lightning_n2m.data.schema import read_index
from lightning_n2m.data.shard_reader import ShardFile, read_shard
from tests.data_pipeline.conftest import CLIPS, tree

RATE = 24_000
NAMES = (
    "Übermut é",
    "東京の夜",
    "Ночь",
    "ليل",
    "two\nlines\tand a tab",
    "-rf *; $(touch x)",
    "%s %d\\",
    "a" * 200,
)


def tone(hertz: float, rate: int = RATE, seconds: float = 24, channels: int = 1) -> np.ndarray:
    """A tune that no other number plays: (time, channels)."""
    time_s = np.arange(int(rate * seconds)) / rate
    wobble = np.random.default_rng(round(hertz)).normal(size=int(seconds * 4) + 1)
    level = np.interp(time_s * 4, np.arange(len(wobble)), 0.2 + 0.05 * wobble)
    noise = np.random.default_rng(round(hertz) + 1).normal(size=len(time_s))
    return np.repeat((level * np.sin(2 * np.pi * hertz * time_s) + 0.02 * noise)[:, None], channels, axis=1)


def wav(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", subtype=subtype)
    return stream.getvalue()


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, set[str], dict[str, str]]:
    """The folder, the names of what is usable, and the reasons against what is not."""
    folder = tmp_path / "music"
    folder.mkdir()
    good, bad = set(), {}

    def usable(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)
        good.add(name)

    def useless(name: str, data: bytes, reason: str = "unreadable") -> None:
        (folder / name).write_bytes(data)
        bad[name] = reason

    whole = (CLIPS / "waltz.ogg").read_bytes()
    flac = io.BytesIO()
    soundfile.write(flac, tone(200), RATE, format="FLAC")
    usable("8bit.wav", wav(tone(300), 8000, "PCM_U8"))
    usable("192k.wav", wav(tone(400, 192_000), 192_000))
    usable("surround.wav", wav(tone(500, channels=8)))
    usable("odd rate.wav", wav(tone(600, 44_099), 44_099))
    usable("whole.OGG", whole)
    for number, name in enumerate(NAMES):
        usable(f"{name}.wav", wav(tone(700 + 100 * number)))
    holed = tone(1500)
    holed[1000] = np.nan
    useless("nan.wav", wav(holed, subtype="FLOAT"))
    useless("integers as floats.wav", wav(tone(1600) * 32768, subtype="FLOAT"), "too loud")
    useless("opposite.wav", wav(tone(1700) * [[1, -1]]), "silent")
    useless("two samples.wav", wav(tone(1800)[:2]), "too short")
    useless("no samples.wav", wav(tone(1800)[:0]), "too short")
    useless("empty.flac", b"")
    useless("text.mp3", b"This is no music, whatever its name says.\n" * 500)
    useless("header only.ogg", whole[:300])
    useless("cut.flac", flac.getvalue()[: len(flac.getvalue()) // 2])
    # The length in the header of a WAV that is cut is mended: what is left of it is usable.
    usable("cut.wav", wav(tone(1900, seconds=60))[:2_000_000])
    useless("broken.tar", b"no tar at all" * 1000)
    os.mkfifo(folder / "pipe.wav")
    bad["pipe.wav"] = "unreadable"
    (folder / "nowhere.wav").symlink_to("gone.wav")
    bad["nowhere.wav"] = "unreadable"
    (folder / "a folder.wav").mkdir()
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    raw = os.fsencode(folder) + b"/latin\xe9.wav"
    Path(os.fsdecode(raw)).write_bytes(wav(tone(2000)))
    good.add("latin\\udce9.wav")
    with tarfile.open(folder / "pack.tar", "w") as tar:
        for number, name in enumerate(("../outside.wav", "/etc/absolute.wav", "in/side.wav")):
            data = wav(tone(2100 + 100 * number))
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            good.add(f"pack.tar/{name}")
        link = tarfile.TarInfo("../../link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        bad["pack.tar/../../link.wav"] = "unreadable"
        sidecar = json.dumps({"title": "In the tar"}).encode()
        member = tarfile.TarInfo("in/side.json")
        member.size = len(sidecar)
        tar.addfile(member, io.BytesIO(sidecar))
    return folder, good, bad


def test_what_is_usable_is_used_and_what_is_not_is_named(
    hostile: tuple[Path, set[str], dict[str, str]], tmp_path: Path
) -> None:
    folder, good, bad = hostile
    before = {str(path) for path in tmp_path.rglob("*")}
    (tmp_path / "work").mkdir()
    target = tmp_path / "work"
    arguments = ["--source", str(folder), "--output", str(target / "m.jsonl"), "--workers", "1"]
    assert main(["manifest", *arguments]) == 0
    found = {track.source: track for track in read_manifest(target / "m.jsonl")}
    reasons = {
        line["path"]: line["reason"]
        for line in map(json.loads, (target / "rejected.jsonl").read_text().splitlines())
    }
    assert set(found) == good
    assert reasons == bad
    assert found["pack.tar/in/side.wav"].title == "In the tar"

    shards = target / "shards"
    cutting = ["--clip-seconds", "5", "--clips-per-track", "2", "--workers", "1"]
    assert main(["shard", "--manifest", str(target / "m.jsonl"), "--output", str(shards), *cutting]) == 0
    clips = [raw.clip for shard in read_index(shards).shards for raw in read_shard(ShardFile(shards, shard))]
    assert {clip.source for clip in clips} == good
    assert (shards / "rejected.jsonl").read_text() == ""
    assert main(["verify", "--shards", str(shards), "--workers", "1"]) == 0

    after = {str(path) for path in tmp_path.rglob("*")}
    assert all(path.startswith(str(target)) for path in after - before), "something was written outside"
    assert not (folder / "x").exists()


def test_members_of_a_tar_become_the_same_clips_as_files(tmp_path: Path) -> None:
    for name in ("waltz", "hymn"):
        (tmp_path / "files").mkdir(exist_ok=True)
        shutil.copy(CLIPS / f"{name}.ogg", tmp_path / "files")
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars/pack.tar", "w") as tar:
        tar.add(tmp_path / "files", "")
    ids = []
    for kind in ("files", "tars"):
        source, output = str(tmp_path / kind), str(tmp_path / f"{kind}.jsonl")
        assert main(["manifest", "--source", source, "--output", output, "--workers", "1"]) == 0
        cutting = ["--clip-seconds", "8", "--workers", "1"]
        assert main(["shard", "--manifest", output, "--output", str(tmp_path / f"{kind}s"), *cutting]) == 0
        shards = tmp_path / f"{kind}s"
        ids.append(
            {
                raw.clip.key: raw.audio
                for shard in read_index(shards).shards
                for raw in read_shard(ShardFile(shards, shard))
            }
        )
    assert ids[0] == ids[1]


@pytest.mark.parametrize("ending", ["m4a", "opus"])
def test_what_libsndfile_does_not_read_is_read_by_ffmpeg(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = ffmpeg.program()
    assert decoder is not None, "the development requirements include imageio-ffmpeg"
    (tmp_path / "music").mkdir()
    path = tmp_path / f"music/-y waltz.{ending}"
    encode = [decoder, "-v", "quiet", "-i", str(CLIPS / "waltz.ogg"), "-metadata", "title=A waltz", str(path)]
    subprocess.run(encode, check=True)
    if ending == "opus":  # Its first page alone is what libsndfile makes nothing of.
        data = path.read_bytes()
        path.write_bytes(data[: data.rindex(b"OggS")])
    shutil.copy(CLIPS / "hymn.ogg", tmp_path / "music")
    arguments = ["--source", str(tmp_path / "music"), "--output", str(tmp_path / "m.jsonl"), "--workers", "1"]
    assert main(["manifest", *arguments]) == 0
    waltz, _ = read_manifest(tmp_path / "m.jsonl")
    assert abs(waltz.seconds - 30) < 1.1
    if ending == "m4a":
        assert (waltz.title, waltz.decoder) == ("A waltz", "ffmpeg")
    cutting = ["--manifest", str(tmp_path / "m.jsonl"), "--clip-seconds", "8", "--workers", "1"]
    assert main(["shard", *cutting, "--output", str(tmp_path / "shards")]) == 0
    assert sum(shard.clips for shard in read_index(tmp_path / "shards").shards) == 6
    monkeypatch.setattr(ffmpeg, "program", lambda: None)
    assert (
        main(["manifest", *arguments[:2], "--output", str(tmp_path / "other.jsonl"), "--workers", "1"]) == 0
    )
    left_out = (tmp_path / "rejected.jsonl").read_text()
    assert ("install it" in left_out) == bool(waltz.decoder)


@pytest.mark.parametrize("lost", ["music", "music/disk"])
def test_a_lost_disk_ends_the_run_with_a_sentence_and_a_rerun_resumes(
    lost: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that is gone leaves an empty folder where it was mounted, which no single lost file does."""
    for place in ("music/disk/one", "music/disk/two", "music/other"):
        (tmp_path / place).mkdir(parents=True)
    for name, place in (("waltz", "disk/one"), ("hymn", "disk/two"), ("tango", "other"), ("polka", "other")):
        shutil.copy(CLIPS / f"{name}.ogg", tmp_path / "music" / place)
    manifest, shards = str(tmp_path / "m.jsonl"), tmp_path / "shards"
    source = ["--source", str(tmp_path / "music"), "--output", manifest, "--workers", "1"]
    cutting = ["--manifest", manifest, "--clip-seconds", "8", "--workers", "1"]
    assert main(["manifest", *source]) == 0
    assert main(["shard", *cutting, "--output", str(shards)]) == 0
    (tmp_path / lost).rename(tmp_path / "unmounted")
    (tmp_path / lost).mkdir()
    capsys.readouterr()
    assert main(["shard", *cutting, "--output", str(tmp_path / "again")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert str(tmp_path / lost) in said
    assert "mount its disk" in said
    assert not (tmp_path / "again/index.json").exists()
    (tmp_path / lost).rmdir()
    (tmp_path / "unmounted").rename(tmp_path / lost)
    assert main(["shard", *cutting, "--output", str(tmp_path / "again")]) == 0
    assert tree(tmp_path / "again") == tree(shards)


def test_a_full_disk_ends_the_run_with_a_sentence_and_a_rerun_resumes(manifest: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the same error at the same place."""
    arguments = ["--manifest", str(manifest), "--clip-seconds", "8", "--workers", "1", "--output"]
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "from data_pipeline.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, "shard", *arguments, str(tmp_path / "full")],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert "run the same command again to" in run.stderr.splitlines()[-1]
    assert not (tmp_path / "full/index.json").exists()
    assert not list((tmp_path / "full").glob("*.tar"))
    assert main(["shard", *arguments, str(tmp_path / "full")]) == 0
    assert main(["shard", *arguments, str(tmp_path / "whole")]) == 0
    assert tree(tmp_path / "full") == tree(tmp_path / "whole")
