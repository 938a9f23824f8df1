"""The figures and the page of stats match the manifest."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from data_pipeline.__main__ import main
from data_pipeline.scan.track import read_manifest
from lightning_n2m.data.schema import Captions, read_index


def test_statistics_match_the_manifest(two_clip_shards: Path, manifest: Path, tmp_path: Path) -> None:
    label = Captions(f"{read_manifest(manifest)[0].track_id}-00", ("A <b>bold</b> tune.",), ("$x", "y"))
    labelled = Path(shutil.copytree(two_clip_shards, tmp_path / "labelled"))
    for shard in read_index(labelled).shards:
        with tarfile.open(labelled / shard.name) as tar:
            if f"{label.key}.json" in tar.getnames():
                (labelled / shard.captions_name).write_text(label.to_json() + "\n")
    pages = []
    for workers in ("1", "2"):
        output = tmp_path / workers
        assert main(["stats", "--shards", str(labelled), "--output", str(output), "--workers", workers]) == 0
        pages.append({path.name: path.read_bytes() for path in output.iterdir()})
    assert pages[0] == pages[1]
    figures = json.loads(pages[0]["stats.json"])
    tracks = read_manifest(manifest)
    assert (figures["tracks"], figures["clips"], figures["labelled_clips"]) == (12, 24, 1)
    assert figures["hours"] == pytest.approx(24 * 8 / 3600, abs=1e-4)
    assert figures["genres"] == {
        genre: 2 * sum(genre in track.genres for track in tracks) for genre in figures["genres"]
    }
    assert figures["captions"] == {"0": 23, "3": 1}
    assert sum(figures["levels"].values()) == sum(figures["bandwidths"].values()) == 24
    page = pages[0]["index.html"].decode()
    pictures = [name for name in pages[0] if name.endswith(".png")]
    assert all(f'src="{name}"' in page for name in pictures)
    assert len([name for name in pictures if name[16:17] == "-"]) == 6
    assert len([name for name in pages[0] if name.endswith(".flac")]) == 6
