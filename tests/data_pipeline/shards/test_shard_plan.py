"""Each split has shards of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from data_pipeline.__main__ import main
from data_pipeline.scan.track import read_manifest
from lightning_n2m.data.schema import read_index, split_of
from tests.data_pipeline.shard_folders import SHORT, shard


def test_every_split_has_shards_of_its_own(manifest: Path, tmp_path: Path) -> None:
    assert shard(manifest, tmp_path / "shards", *SHORT, "--validation", "0.3", "--test", "0.3") == 0
    index = read_index(tmp_path / "shards")
    for split in ("train", "validation", "test"):
        tracks = [t for t in read_manifest(manifest) if split_of(t.track_id, 0.3, 0.3) == split]
        assert len(index.of(split)) == min(len(tracks), 8)


def test_a_split_that_the_collection_assigns_is_kept(music: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text(
        '{"path": "waltz/piece.ogg", "split": "test"}\n{"path": "hymn/piece.ogg", "split": "validation"}\n'
    )
    manifest = tmp_path / "manifest.jsonl"
    arguments = ["--source", str(music), "--metadata", str(table), "--workers", "1"]
    arguments += ["--output", str(manifest)]
    assert main(["manifest", *arguments]) == 0
    output = tmp_path / "shards"
    assert shard(manifest, output, *SHORT, "--validation", "0", "--test", "0") == 0
    index = read_index(output)
    assert {split: sum(s.clips for s in index.of(split)) for split in ("train", "validation", "test")} == {
        "train": 6,
        "validation": 3,
        "test": 3,
    }
    assert main(["verify", "--shards", str(output)]) == 0


def test_a_manifest_may_mix_relative_and_absolute_paths(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listing = tmp_path / "manifest.jsonl"
    assert main(["manifest", "--source", str(music), "--output", str(listing), "--workers", "1"]) == 0
    first, *others = listing.read_text().splitlines()
    track = json.loads(first)
    track["path"] = os.path.relpath(track["path"], tmp_path)
    listing.write_text("\n".join([json.dumps(track), *others]) + "\n")
    assert (
        main(["shard", "--manifest", str(listing), "--output", str(tmp_path / "shards"), "--workers", "1"])
        == 0
    )
    assert sum(part.clips for part in read_index(tmp_path / "shards").shards) == len(others) + 1
