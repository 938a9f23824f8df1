"""The manifest lists what can be used, and says of the rest why not."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
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


def tune(path: Path, seed: int = 0, seconds: float = 6, **tags: str) -> Path:
    """A short piece that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = 12_000
    draw = np.random.default_rng(seed)
    levels = np.repeat(draw.uniform(0.02, 0.2, int(seconds * 4) + 1), rate // 4)[: int(rate * seconds)]
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        for name, value in tags.items():
            setattr(file, name, value)
        file.write(levels * draw.normal(size=len(levels)))
    return path


SHORT = ("--minimum-seconds", "5")


def test_a_duplicate_passes_on_what_it_knows(tmp_path: Path) -> None:
    music = tmp_path / "music"
    kept = tune(music / "a.wav")
    for name in ("b", "c"):
        shutil.copy(kept, music / f"{name}.wav")
    samples, rate = soundfile.read(kept)
    soundfile.write(music / "small.ogg", samples, rate)  # The same recording in fewer bytes.
    (music / "a.json").write_text(json.dumps({"title": "A", "genres": ["rock"]}))
    (music / "b.json").write_text(json.dumps({"title": "B", "artist": "Ann", "genres": ["folk"]}))
    (music / "c.txt").write_text("A caption of c.")
    (music / "small.txt").write_text("A caption of the small one.")
    table = tmp_path / "t.csv"
    table.write_text("path,tags,licence\nb.wav,calm,CC0\nsmall.ogg,loud,CC-BY\n")
    (track,), rejected = run(music, tmp_path / "m.jsonl", "--metadata", str(table), *SHORT)
    assert rejected == dict.fromkeys(("b.wav", "c.wav", "small.ogg"), "duplicate")
    assert (track.source, track.title, track.artist, track.decoder) == ("a.wav", "A", "Ann", "")
    assert track.genres == ("rock", "folk")
    assert track.descriptions == ("A caption of c.", "A caption of the small one.")
    assert (set(track.tags), track.licence) == ({"calm", "loud"}, "CC0")


def test_a_link_never_replaces_its_target(tmp_path: Path) -> None:
    music = tmp_path / "music"
    tune(music / "z.wav")
    (music / "a.wav").symlink_to("z.wav")
    (track,), rejected = run(music, tmp_path / "m.jsonl", *SHORT)
    assert track.path == str(music / "z.wav")
    assert rejected == {"a.wav": "duplicate"}


def test_captions_beside_a_file(tmp_path: Path) -> None:
    music = tmp_path / "music"
    contents = {
        "one": b"A slow song.\n",
        "two": "\ufeffA slow song.\n\nA sad song.\r\n".encode(),
        "wide": "Träumerei.".encode("utf-16"),
        "lyrics": b"la la la\n" * 30,
        "latin": "Träumerei.".encode("latin-1"),
        "long": b"x" * 2_000_000,
    }
    for number, (name, content) in enumerate(contents.items()):
        tune(music / f"{name}.wav", number)
        (music / f"{name}.txt").write_bytes(content)
    tracks, _ = run(music, tmp_path / "m.jsonl", *SHORT)
    captions = {track.source.removesuffix(".wav"): track.descriptions for track in tracks}
    assert captions == {
        "one": ("A slow song.",),
        "two": ("A slow song.", "A sad song."),
        "wide": ("Träumerei.",),
        "lyrics": (),
        "latin": (),
        "long": (),
    }


def test_sidecars_that_are_not_files_or_are_bombs_do_not_cost_the_track(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    music = tmp_path / "music"
    for number, name in enumerate(("pipe", "gone", "device", "deep", "digits", "long", "list")):
        tune(music / f"{name}.wav", number)
    os.mkfifo(music / "pipe.json")
    os.mkfifo(music / "pipe.txt")
    (music / "gone.json").symlink_to("nowhere")
    (music / "device.json").symlink_to("/dev/zero")
    (music / "deep.json").write_text('{"truth":' + '{"a":' * 50_000 + "1" + "}" * 50_001)
    (music / "digits.json").write_text('{"year": ' + "9" * 10_000 + "}")
    (music / "long.json").write_text('{"title": "' + "x" * 2_000_000 + '"}')
    (music / "list.json").write_text("[1, 2]")
    tracks, rejected = run(music, tmp_path / "m.jsonl", *SHORT)
    assert len(tracks) == 7
    assert not rejected
    report = capsys.readouterr().out
    assert "Tags and sidecar files, not used: sidecar file: not a regular file (4)" in report
    for reason in ("nested more than", "too many digits", "longer than", "not a JSON object"):
        assert reason in report


def test_what_is_not_used_is_named_with_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    music = tmp_path / "music"
    tune(music / "a.wav")
    tune(music / "b.wav", 1)
    (music / "cover.jpg").write_bytes(b"x")
    (music / "more.zip").write_bytes(b"x")
    table = tmp_path / "t.csv"
    table.write_text(
        "path,title,loudness,year,caption\n"
        "a.wav,A,-9,1999,One.\nb.wav,B,-8,soon,Two.,extra\nx.wav,X,-7,,\ny\x1b[1m.wav,Y,,,\n,Z,,,\n"
    )
    tracks, rejected = run(music, tmp_path / "m.jsonl", "--metadata", str(table), *SHORT)
    assert [(track.title, track.year, track.descriptions) for track in tracks] == [
        ("A", "1999", ("One.",)),
        ("B", "", ("Two.",)),
    ]
    assert rejected == {"more.zip": "archive"}
    report = capsys.readouterr().out
    assert "rejected: 1 archive" in report
    assert "Skipped, as their endings are not those of audio: .jpg (1)." in report
    assert f"{table}: 2 of 5 rows describe files of the source." in report
    assert "2 rows name no file, or several: x.wav, y\\x1b[1m.wav." in report
    assert "1 rows have an empty path" in report
    assert "columns not used: loudness (3 values), cells beyond the last column (1 values)" in report
    assert "values not used: year: no year in it (1)" in report
    assert "\x1b" not in report


def test_a_table_may_use_other_paths_than_the_source(tmp_path: Path) -> None:
    """Absolute, ``./``, Windows' separators, a parent or a part of the source, another ending or encoding."""
    music = tmp_path / "music"
    names = ("x/a.wav", "x/b.wav", "x/c.wav", "y/d.wav", "y/é.wav", "y/f.low.wav", "twice/g.wav", "z/g.wav")
    for number, name in enumerate(names):
        tune(music / name, number)
    table = tmp_path / "t.csv"
    lines = [
        f"{music}/x/a.wav",
        "./x/b.wav",
        "music\\x\\c.wav",
        "d.mp3",
        "y/e\u0301.wav",
        "clips/y/f.mp3",
        "twice/g.wav",
        "other/g.wav",
    ]
    table.write_text("path,title\n" + "".join(f"{line},{number}\n" for number, line in enumerate(lines)))
    tracks, _ = run(music, tmp_path / "m.jsonl", "--metadata", str(table), *SHORT)
    titles = {track.source: track.title for track in tracks}
    assert titles == {**{name: str(number) for number, name in enumerate(names[:7])}, "z/g.wav": ""}


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


@pytest.mark.parametrize(
    "url",
    ["s3://key:hunter2@bucket/music", "https://me:hunter2@host/a", "https://host/a?X-Amz-Signature=hunter2"],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", "--source", url, "--output", str(tmp_path / "m.jsonl")]) == 2
    report = capsys.readouterr()
    assert "holds a password or key" in report.err
    assert "hunter2" not in report.err + report.out
    assert not list(tmp_path.iterdir())


def test_a_wrong_table_is_refused_before_the_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tune(tmp_path / "music/a.wav")
    (tmp_path / "t.xlsx").write_bytes(b"PK\3\4 something")
    (tmp_path / "n.csv").write_text("a.wav,A caption.\n" * 2)
    os.mkfifo(tmp_path / "p.csv")
    for name, reason in (("t.xlsx", "a workbook"), ("n.csv", "no 'path'"), ("p.csv", "not a regular file")):
        arguments = ["--source", str(tmp_path / "music"), "--metadata", str(tmp_path / name)]
        assert main(["manifest", *arguments, "--output", str(tmp_path / "out/m.jsonl")]) == 2
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_database_of_an_older_version_is_built_again(tmp_path: Path) -> None:
    tune(tmp_path / "music/a.wav")
    with sqlite3.connect(tmp_path / "m.sqlite") as database:
        database.execute("CREATE TABLE files (number INTEGER, name TEXT)")
        database.execute("CREATE TABLE known (key TEXT)")
    tracks, _ = run(tmp_path / "music", tmp_path / "m.jsonl", *SHORT)
    assert len(tracks) == 1


@pytest.mark.slow  # It decodes thirteen minutes of audio in a process of its own.
def test_memory_does_not_grow_with_the_length_of_a_track(tmp_path: Path) -> None:
    """The same process reads 1 and then 12 minutes; its peak memory may grow by a few megabytes only."""
    for name, minutes in (("a.wav", 1), ("b.wav", 12)):
        with soundfile.SoundFile(tmp_path / name, "w", 16_000, 2) as file:
            for minute in range(minutes):
                file.write(0.1 * np.random.default_rng(minute).normal(size=(16_000 * 60, 2)))
    code = (
        "import resource, sys\n"
        "from data_pipeline.scan.file_scan import SourceFile\n"
        "from data_pipeline.scan.probe import probe\n"
        "for path in sys.argv[1:]:\n"
        "    track = probe(SourceFile(path, path), '', 1).result\n"
        "    print(track.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (_, short), (frames, long) = (map(int, line.split()) for line in output.splitlines())
    assert frames == 16_000 * 60 * 12
    assert long - short < 40_000, "kilobytes"
    assert long < 1_000_000
