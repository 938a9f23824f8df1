"""The identity of a track."""

from __future__ import annotations

from pathlib import Path

from tests.data_pipeline.manifests import run


def test_identity_is_of_the_content_not_of_the_place(music: Path, tmp_path: Path) -> None:
    first, _ = run(music, tmp_path / "a/manifest.jsonl")
    music.rename(tmp_path / "elsewhere")
    second, _ = run(tmp_path / "elsewhere", tmp_path / "b/manifest.jsonl")
    assert [track.track_id for track in first] == [track.track_id for track in second]
    assert all(len(track.track_id) == 16 for track in first)
