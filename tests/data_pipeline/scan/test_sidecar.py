"""Captions and metadata in files beside the audio."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.data_pipeline.manifests import SHORT, run, tune


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
