"""The tables of MagnaTagATune in the form in which they are published."""

from __future__ import annotations

from pathlib import Path

from data_pipeline.scan.annotations.reader import Annotations
from tests.data_pipeline.scan.annotations.tables import joined

MAGNATAGATUNE = (
    '"clip_id"\t"no voice"\t"harp"\t"rock"\t"mp3_path"\n"2"\t"1"\t"1"\t"0"\t"f/some_band-01-tune-30-59.mp3"\n'
)
CLIP_INFO = (
    '"clip_id"\t"title"\t"artist"\t"album"\t"mp3_path"\n'
    '"2"\t"Tune"\t"Some Band"\t"Songs"\t"f/some_band-01-tune-30-59.mp3"\n'
)


def test_magnatagatune(tmp_path: Path) -> None:
    (tmp_path / "annotations_final.csv").write_text(MAGNATAGATUNE)
    (tmp_path / "clip_info_final.csv").write_text(CLIP_INFO)
    known = tmp_path / "annotations_final.csv"
    (track,) = joined(tmp_path, known, "f/some_band-01-tune-30-59.ogg")
    assert (track.tags, track.title, track.artist) == (("no voice", "harp"), "Tune", "Some Band")
    (tmp_path / "clip_info_final.csv").unlink()
    (row,) = Annotations(known)
    assert (row.key, row.fields) == ("some_band-01-tune-30-59", {"tags": ("no voice", "harp")})
