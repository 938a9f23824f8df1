"""The manifest lists what can be used, and says of the rest why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipeline.__main__ import main
from data_pipeline.scan.track import Track, read_manifest
from data_pipeline.scan.walk import walk


def run(source: Path, output: Path, *more: str) -> tuple[list[Track], dict[str, str]]:
    assert main(["manifest", "--source", str(source), "--output", str(output), "--workers", "1", *more]) == 0
    lines = (output.with_name("rejected.jsonl")).read_text().splitlines()
    return read_manifest(output), {line["path"]: line["reason"] for line in map(json.loads, lines)}


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


def test_a_file_that_ends_before_its_header_says_is_left_out(music: Path, tmp_path: Path) -> None:
    path = music / "cut.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=24_000 * 70), 24_000)
    path.write_bytes(path.read_bytes()[:-400_000])
    tracks, rejected = run(music, tmp_path / "manifest.jsonl")
    assert len(tracks) == 4
    assert rejected == {"cut.flac": "unreadable"}


def test_the_metadata_file_wins_over_the_sidecar_and_that_over_the_tags(music: Path, tmp_path: Path) -> None:
    with soundfile.SoundFile(music / "tagged.flac", "w", 24_000, 1) as file:
        file.title, file.artist, file.genre, file.date = "Tag", "Tag", "Tag", "1999-12-31"
        file.write(0.1 * np.random.default_rng(0).normal(size=24_000 * 25))
    (music / "tagged.json").write_text(json.dumps({"title": "Beside", "artist": "Beside", "tags": "calm"}))
    known = tmp_path / "known.jsonl"
    line = {"path": "tagged.flac", "title": "Line", "truth": {"key": "A"}, "licence": "CC0-1.0", "year": 2001}
    known.write_text(json.dumps(line) + "\n")
    tracks, _ = run(music, tmp_path / "manifest.jsonl", "--metadata", str(known))
    found = next(track for track in tracks if track.source == "tagged.flac")
    assert (found.title, found.artist, found.genres) == ("Line", "Beside", ("tag",))
    assert (found.year, found.tags, found.licence) == ("2001", ("calm",), "CC0-1.0")
    assert found.truth == {"key": "A"}


def test_identity_is_of_the_content_not_of_the_place(music: Path, tmp_path: Path) -> None:
    first, _ = run(music, tmp_path / "a/manifest.jsonl")
    music.rename(tmp_path / "elsewhere")
    second, _ = run(tmp_path / "elsewhere", tmp_path / "b/manifest.jsonl")
    assert [track.track_id for track in first] == [track.track_id for track in second]
    assert all(len(track.track_id) == 16 for track in first)


def test_folders_that_link_to_each_other_are_entered_once(music: Path) -> None:
    (music / "waltz/up").symlink_to(music, target_is_directory=True)
    (music / "hymn/again").symlink_to(music / "tango", target_is_directory=True)
    assert len(list(walk(music))) == 4


def test_workers_change_nothing(music: Path, tmp_path: Path) -> None:
    arguments = ["manifest", "--source", str(music)]
    for workers in ("1", "2"):
        output = str(tmp_path / workers / "manifest.jsonl")
        assert main([*arguments, "--workers", workers, "--output", output]) == 0
    assert (tmp_path / "1/manifest.jsonl").read_bytes() == (tmp_path / "2/manifest.jsonl").read_bytes()
