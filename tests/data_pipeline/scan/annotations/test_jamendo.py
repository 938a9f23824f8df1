"""The tables of MTG-Jamendo in the form in which they are published."""

from __future__ import annotations

from pathlib import Path

from tests.data_pipeline.scan.annotations.tables import joined

JAMENDO = (
    "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
    "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock\tinstrument---bass\t"
    "mood/theme---calm\n"
)
JAMENDO_META = (
    "TRACK_ID\tARTIST_ID\tALBUM_ID\tTRACK_NAME\tARTIST_NAME\tALBUM_NAME\tRELEASEDATE\tURL\n"
    "track_0000214\tartist_000014\talbum_000031\tUn Air\tLe Groupe\tDisque\t2004-12-01\thttp://jamen.do/214\n"
)


def test_jamendo(tmp_path: Path) -> None:
    (tmp_path / "autotagging.tsv").write_text(JAMENDO)
    (tmp_path / "raw.meta.tsv").write_text(JAMENDO_META)
    (track,) = joined(tmp_path, tmp_path / "autotagging.tsv", "14/214.low.ogg")
    assert (track.title, track.artist, track.album, track.year) == ("Un Air", "Le Groupe", "Disque", "2004")
    assert (track.genres, track.tags) == (("punkrock",), ("bass", "calm"))
