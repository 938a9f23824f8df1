"""The manifest lists what can be used, and says of the rest why not."""

from __future__ import annotations

import shlex
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipeline.__main__ import main
from tests.data_pipeline.manifests import SHORT, run, tune


def test_each_kind_of_bad_file_is_left_out_and_named(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = sorted(path.relative_to(music).as_posix() for path in music.rglob("*.ogg"))
    whole = (music / "waltz/piece.ogg").read_bytes()
    (music / "broken.mp3").write_bytes(b"no music at all" * 100)
    (music / "cut.ogg").write_bytes(whole[:200])
    (music / "empty.flac").write_bytes(b"")
    shutil.copy(music / "waltz/piece.ogg", music / "waltz/z-copy.ogg")
    noise = np.random.default_rng(0).normal(size=8000 * 25)
    soundfile.write(music / "short.wav", 0.1 * noise[: 8000 * 5], 8000)
    soundfile.write(music / "silent.wav", 1e-4 * noise, 8000)
    (music / "notes.txt").write_text("not audio, and nobody thinks so")

    tracks, rejected = run(music, tmp_path / "out/manifest.jsonl")

    assert [track.source for track in tracks] == good
    assert rejected == {
        "broken.mp3": "unreadable",
        "cut.ogg": "unreadable",
        "empty.flac": "unreadable",
        "short.wav": "too short",
        "silent.wav": "silent",
        "waltz/z-copy.ogg": "duplicate",
    }
    said = capsys.readouterr().out
    assert "4 tracks" in said
    assert "1 duplicate, 1 silent, 1 too short, 3 unreadable" in said
    assert "Too short are files below --minimum_seconds 20." in said


def test_a_file_that_is_no_mp3_leaves_no_decoder_messages(
    music: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (music / "broken.mp3").write_bytes(b"not really an mp3" * 50)
    output = tmp_path / "my data/manifest.jsonl"
    assert main(["manifest", "--source", str(music), "--workers", "1", "--output", str(output)]) == 0
    (line,) = (tmp_path / "my data/rejected.jsonl").read_text().splitlines()
    assert "broken.mp3 cannot be read as audio (it holds no MP3 frames)" in line
    said = capfd.readouterr()
    assert "Note:" not in said.err
    # The next command can be copied although the folder has a space in its name.
    next_command = said.out.splitlines()[-1].removeprefix("Next: ")
    assert shlex.split(next_command)[4:6] == ["--manifest", str(output)]


def test_workers_change_nothing(music: Path, tmp_path: Path) -> None:
    arguments = ["manifest", "--source", str(music)]
    for workers in ("1", "2"):
        output = str(tmp_path / workers / "manifest.jsonl")
        assert main([*arguments, "--workers", workers, "--output", output]) == 0
    assert (tmp_path / "1/manifest.jsonl").read_bytes() == (tmp_path / "2/manifest.jsonl").read_bytes()


@pytest.mark.parametrize("kind", ["file", "tar", "dots"])
def test_a_source_may_be_a_file_a_tar_or_lie_above(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tune(tmp_path / "music/sub/a.wav")
    (tmp_path / "pack.tar").write_bytes(b"")
    with tarfile.open(tmp_path / "pack.tar", "w") as tar:
        tar.add(path, "in/a.wav")
    monkeypatch.chdir(tmp_path / "music/sub")
    source, name = {
        "file": (path, "a.wav"),
        "tar": (tmp_path / "pack.tar", "pack.tar/in/a.wav"),
        "dots": (Path("../../music"), "sub/a.wav"),
    }[kind]
    (track,), _ = run(source, tmp_path / "m.jsonl", *SHORT)
    assert track.source == name
    shards = ["--output", str(tmp_path / "shards"), "--clip-seconds", "5", "--workers", "1"]
    assert main(["shard", "--manifest", str(tmp_path / "m.jsonl"), *shards]) == 0
