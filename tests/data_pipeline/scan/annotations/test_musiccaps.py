"""The tables of MusicCaps in the form in which they are published."""

from __future__ import annotations

from pathlib import Path

from tests.data_pipeline.scan.annotations.tables import MUSICCAPS, joined


def test_musiccaps(tmp_path: Path) -> None:
    (tmp_path / "musiccaps-public.csv").write_text(MUSICCAPS)
    (track,) = joined(tmp_path, tmp_path / "musiccaps-public.csv", "[-0Gj8-vB1q4]-[30-40].ogg")
    assert track.descriptions == ("A slow song, with a piano.",)
    assert track.tags == ("soft voice", "piano's melody")
    assert track.source == "https://www.youtube.com/watch?v=-0Gj8-vB1q4&t=30"
