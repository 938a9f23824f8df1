"""Results of earlier scans are kept, and those of older versions are not read."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipeline.__main__ import main
from data_pipeline.scan.track import read_manifest
from lightning_n2m.audio.io import probe
from tests.data_pipeline.conftest import CLIPS
from tests.data_pipeline.manifests import SHORT, run, tune


def test_a_killed_manifest_goes_on_and_a_later_one_reads_only_what_is_new(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "m.jsonl"
    listed = ["manifest", "--source", str(music), "--output", str(output), "--workers", "1"]
    job = subprocess.Popen([sys.executable, "-m", "data_pipeline", *listed], stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 60
    while not (tmp_path / "m.sqlite").exists() and time.monotonic() < give_up:
        time.sleep(0.005)
    time.sleep(0.2)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert main(listed) == 0
    first = output.read_bytes()
    opened = []
    from lightning_n2m.audio import io

    monkeypatch.setattr(io, "probe", lambda source: opened.append(source) or probe(source))
    assert main(listed) == 0
    assert (opened, output.read_bytes()) == ([], first)
    (music / "new.ogg").write_bytes((CLIPS / "polka.ogg").read_bytes())
    (music / "waltz/piece.ogg").write_bytes((CLIPS / "folk.ogg").read_bytes())
    (music / "hymn/piece.ogg").unlink()
    assert main(listed) == 0
    # A file that is read is opened twice: to choose its decoder, and to decode it.
    assert sorted(path.name for path in opened) == ["new.ogg", "new.ogg", "piece.ogg", "piece.ogg"]
    assert len(read_manifest(output)) == 4
    opened.clear()
    assert main([*listed, "--minimum-seconds", "31"]) == 0
    assert len(opened) == 2 * 4
    assert read_manifest(output) == []


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


def test_a_database_of_an_older_version_is_built_again(tmp_path: Path) -> None:
    tune(tmp_path / "music/a.wav")
    with sqlite3.connect(tmp_path / "m.sqlite") as database:
        database.execute("CREATE TABLE files (number INTEGER, name TEXT)")
        database.execute("CREATE TABLE known (key TEXT)")
    tracks, _ = run(tmp_path / "music", tmp_path / "m.jsonl", *SHORT)
    assert len(tracks) == 1
