"""Real clips, and folders that grow out of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data_pipeline.__main__ import main
from tests.data_pipeline.shard_folders import SHORT, shard
from tests.paths import CLIPS

NAMES = sorted(path.stem for path in CLIPS.glob("*.ogg"))


@pytest.fixture(scope="session")
def clips() -> Path:
    """Twelve pieces of 30 seconds, with metadata.jsonl."""
    return CLIPS


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """A folder of four real pieces, in sub-folders, without metadata."""
    folder = tmp_path / "music"
    for name in ("waltz", "hymn", "tango", "techno"):
        (folder / name).mkdir(parents=True)
        shutil.copy(CLIPS / f"{name}.ogg", folder / name / "piece.ogg")
    return folder


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of all twelve pieces."""
    path = tmp_path_factory.mktemp("manifest") / "manifest.jsonl"
    arguments = ["--source", str(CLIPS), "--metadata", str(CLIPS / "metadata.jsonl"), "--workers", "1"]
    assert main(["manifest", *arguments, "--output", str(path)]) == 0
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="session")
def shards(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of two tracks each, with three clips of 8 seconds of each track."""
    output = tmp_path_factory.mktemp("shards")
    assert shard(manifest, output, *SHORT) == 0
    return output


@pytest.fixture(scope="session")
def two_clip_shards(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards with two clips of 8 seconds of each track."""
    output = tmp_path_factory.mktemp("verified")
    cutting = ["--clip-seconds", "8", "--clips-per-track", "2", "--workers", "1"]
    assert main(["shard", "--manifest", str(manifest), "--output", str(output), *cutting]) == 0
    return output


@pytest.fixture
def copy(two_clip_shards: Path, tmp_path: Path) -> Path:
    """A copy of these shards, to be changed."""
    return Path(shutil.copytree(two_clip_shards, tmp_path / "copy"))
