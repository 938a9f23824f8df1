"""Rows of tables find the files that they describe."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_pipeline.scan.annotations.reader import keys_of
from tests.data_pipeline.manifests import SHORT, run, tune
from tests.data_pipeline.scan.annotations.tables import joined


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


def test_song_describer_keeps_its_captions(tmp_path: Path) -> None:
    """Its rows name 00/1004000.mp3, and its files are 00/1004000.2min.mp3; each has several captions."""
    table = tmp_path / "song_describer.csv"
    table.write_text(
        "caption_id,track_id,caption,is_valid_subset,familiarity,artist_id,album_id,path,duration\n"
        '1,1004000,"A slow song, with a piano.",True,0,1,2,00/1004000.mp3,120.0\n'
        "2,1004000,Sad piano.,True,0,1,2,00/1004000.mp3,120.0\n"
    )
    (track,) = joined(tmp_path, table, "00/1004000.2min.ogg")
    assert track.descriptions == ("A slow song, with a piano.", "Sad piano.")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("-0Gj8-vB1q4.wav", "-0Gj8-vB1q4"),
        ("a/[-0Gj8-vB1q4]-[30-40].wav", "-0Gj8-vB1q4"),
        ("Y-0Gj8-vB1q4.wav", "-0Gj8-vB1q4"),
        ("-0Gj8-vB1q4_30.000_40.000.flac", "-0Gj8-vB1q4"),
        ("fma_small/000/000002.mp3", "000002"),
        ("14/214.low.mp3", "214"),
        ("a/b.flac", "b"),
        ("Mr. X - Song [dQw4w9WgXcQ].opus", "dQw4w9WgXcQ"),
        ("Song-dQw4w9WgXcQ.m4a", "dQw4w9WgXcQ"),
    ],
)
def test_the_ways_in_which_files_are_named(name: str, key: str) -> None:
    assert key in keys_of(name)
