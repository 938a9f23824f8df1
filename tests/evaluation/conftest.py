"""Shards of three rendered pieces, one clip of 30 s each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_pipeline.__main__ import main as data_pipeline
from tests.paths import CLIPS


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "music").mkdir()
    for name in ("tango", "techno", "folk"):
        os.link(CLIPS / f"{name}.ogg", folder / "music" / f"{name}.ogg")
    source = ["--source", str(folder / "music"), "--metadata", str(CLIPS / "metadata.jsonl")]
    assert data_pipeline(["manifest", *source, "--output", str(folder / "m.jsonl")]) == 0
    options = ["--tracks_per_shard", "1", "--validation", "0", "--test", "0", "--workers", "1"]
    manifest = ["--manifest", str(folder / "m.jsonl"), "--output", str(folder / "s")]
    assert data_pipeline(["shard", *manifest, *options]) == 0
    return folder / "s"
