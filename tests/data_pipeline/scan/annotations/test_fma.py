"""The tables of FMA in the form in which they are published."""

from __future__ import annotations

from pathlib import Path

from tests.data_pipeline.scan.annotations.tables import joined

FMA = """,album,album,artist,set,track,track,track,track,track,track
,date_released,title,name,split,genre_top,genres,genres_all,license,tags,title
track_id,,,,,,,,,,
2,2009-01-05 00:00:00,A Way,AWOL,training,Hip-Hop,[21],"[21, 5]",CC BY-NC-SA 3.0,"['loud', 'live']",Food
"""
FMA_GENRES = "genre_id,#tracks,parent,title,top_level\n21,12693,0,Hip-Hop,21\n5,5723,0,Classical,5\n"


def test_fma(tmp_path: Path) -> None:
    (tmp_path / "tracks.csv").write_text(FMA)
    (tmp_path / "genres.csv").write_text(FMA_GENRES)
    (track,) = joined(tmp_path, tmp_path / "tracks.csv", "fma_small/000/000002.ogg")
    assert (track.title, track.artist, track.album) == ("Food", "AWOL", "A Way")
    assert (track.year, track.licence) == ("2009", "CC BY-NC-SA 3.0")
    assert (track.genres, track.tags) == (("hip-hop", "classical"), ("loud", "live"))
