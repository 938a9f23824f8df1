"""Shards are the same on each machine, and other settings are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from data_pipeline.__main__ import main
from lightning_n2m.audio import io as audio_io
from lightning_n2m.data.schema import SAMPLE_RATE, read_index, split_of
from tests.data_pipeline.conftest import tree
from tests.data_pipeline.shard_folders import SHORT, members, shard


def test_the_index_matches_its_shards(manifest: Path, shards: Path) -> None:
    index = read_index(shards)
    assert sum(item.clips for item in index.shards) == 12 * 3
    assert (index.sample_rate, index.clip_seconds) == (SAMPLE_RATE, 8.0)
    for item in index.shards:
        found = members(shards / item.name)
        assert len(found) == 2 * item.clips
        assert (shards / item.name).stat().st_size == item.bytes
        assert item.seconds == item.clips * 8.0
        for name in found:
            assert split_of(name.split("-")[0]) == item.split


def test_workers_change_no_byte(manifest: Path, shards: Path, tmp_path: Path) -> None:
    assert (
        main(["shard", "--manifest", str(manifest), "--output", str(tmp_path), *SHORT, "--workers", "2"]) == 0
    )
    assert tree(tmp_path) == tree(shards)


def test_the_place_of_the_music_changes_no_byte(clips: Path, shards: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "elsewhere")
    arguments = ["--metadata", str(clips / "metadata.jsonl"), "--workers", "1"]
    main(
        [
            "manifest",
            "--source",
            str(tmp_path / "elsewhere"),
            *arguments,
            "--output",
            str(tmp_path / "m.jsonl"),
        ]
    )
    assert shard(tmp_path / "m.jsonl", tmp_path / "shards", *SHORT) == 0
    assert tree(tmp_path / "shards") == tree(shards)


def test_other_settings_are_refused(manifest: Path, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(shards)
    assert shard(manifest, shards, *SHORT[2:], "--clip-seconds", "5") == 2
    said = capsys.readouterr().err
    assert str(shards) in said
    assert "clip_seconds" in said and "to extend it, give --clip_seconds 8.0;" in said
    assert said.count("\n") == 1
    assert tree(shards) == before


def test_the_loader_reads_what_was_written(shards: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    name = read_index(shards).shards[0].name
    first = next(iter(webdataset.WebDataset(str(shards / name), shardshuffle=False)))
    assert set(first) >= {"__key__", "flac", "json"}
    assert torch.is_tensor(audio_io.read(first["flac"]).samples)
