"""A shard folder grows by new tracks: what exists stays byte for byte, and a kill loses nothing."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.__main__ import main
from data_pipeline.shards.generations import Generation
from lightning_n2m.data.schema import Clip, read_index
from lightning_n2m.data.shard_reader import ShardFile, read_shard
from tests.data_pipeline.conftest import tree

SHORT = ["--clip-seconds", "8", "--clips-per-track", "1", "--tracks-per-shard", "2", "--workers", "1"]


def shard(manifest: Path, output: Path, *more: str) -> int:
    return main(["shard", "--manifest", str(manifest), "--output", str(output), *SHORT, *more])


@pytest.fixture(scope="module")
def parts(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Manifests of the first 5, 9 and 12 tracks."""
    folder = tmp_path_factory.mktemp("parts")
    lines = manifest.read_text().splitlines(keepends=True)
    paths = []
    for count in (5, 9, 12):
        paths.append(folder / f"first_{count}.jsonl")
        paths[-1].write_text("".join(lines[:count]))
    return paths


@pytest.fixture(scope="module")
def extended(parts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """A folder that was extended twice, and its files after each step."""
    folder = tmp_path_factory.mktemp("extended") / "shards"
    trees = []
    for part in parts:
        assert shard(part, folder) == 0
        trees.append(tree(folder))
    return folder, trees


def clips_of(folder: Path) -> dict[str, Clip]:
    index = read_index(folder)
    clips = [raw.clip for item in index.shards for raw in read_shard(ShardFile(folder, item))]
    assert len({clip.key for clip in clips}) == len(clips)
    return {clip.track_id: clip for clip in clips}


def test_existing_shards_stay_and_new_ones_hold_the_new_tracks(
    extended: tuple[Path, list[dict]], parts: list[Path], manifest: Path, tmp_path: Path
) -> None:
    folder, trees = extended
    for before, after in itertools.pairwise(trees):
        tars = {name: data for name, data in before.items() if name.endswith(".tar")}
        assert len(tars) > 0
        assert {name: after[name] for name in tars} == tars
        assert len([name for name in after if name.endswith(".tar")]) > len(tars)
    assert shard(manifest, tmp_path / "at_once") == 0
    assert clips_of(folder) == clips_of(tmp_path / "at_once")
    assert main(["verify", "--shards", str(folder), "--workers", "1"]) == 0


def test_a_repeated_run_changes_nothing(extended: tuple[Path, list[dict]], manifest: Path) -> None:
    folder, trees = extended
    assert shard(manifest, folder) == 0
    assert tree(folder) == trees[-1]


@pytest.mark.parametrize("lost", ["every record", "plan", "index", "one new shard"])
def test_a_killed_extension_resumes(
    extended: tuple[Path, list[dict]], parts: list[Path], tmp_path: Path, lost: str
) -> None:
    """The states that a kill can leave, from the first write of an extension to its last."""
    folder, trees = extended
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    old = set(trees[1])
    new = sorted(set(trees[2]) - old)
    assert any(name.endswith(".tar") for name in new)
    if lost == "plan":  # killed between the list of the new tracks and the plan
        for name in new:
            if "tracks-" not in name:
                (copy / name).unlink()
        (copy / "records/plan.json").write_bytes(trees[1]["records/plan.json"])
    elif lost == "every record":
        for name in new:
            if name.startswith("records/audio-"):
                (copy / name).unlink()
    elif lost == "one new shard":
        (copy / next(name for name in new if name.endswith(".tar"))).unlink()
    if lost != "one new shard":
        (copy / "index.json").write_bytes(trees[1]["index.json"])
        assert len(clips_of(copy)) == 9, "an extension must leave the folder usable until it is complete"
    assert shard(parts[2], copy) == 0
    assert tree(copy) == trees[2]


def test_a_manifest_that_lacks_tracks_is_refused(
    extended: tuple[Path, list[dict]], parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, trees = extended
    assert shard(parts[1], folder) == 2
    message = capsys.readouterr().err
    assert "lacks 3 tracks" in message
    assert message.count("\n") == 1
    assert tree(folder) == trees[-1]


@pytest.mark.parametrize(
    ("change", "new_tracks", "message"),
    [
        ({"title": "Another title"}, False, "another description of 1 tracks"),
        ({"title": "Another title"}, True, ""),
        ({"split": "test"}, True, "1 tracks of"),
        ({"split": "validation"}, False, "1 tracks of"),
    ],
)
def test_changed_tracks(
    parts: list[Path], tmp_path: Path, change: dict, new_tracks: bool, message: str, capsys
) -> None:
    assert shard(parts[0], tmp_path / "shards") == 0
    before = tree(tmp_path / "shards")
    lines = parts[1 if new_tracks else 0].read_text().splitlines()
    first = json.loads(lines[0]) | change
    changed = tmp_path / "changed.jsonl"
    changed.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    capsys.readouterr()
    code = shard(changed, tmp_path / "shards")
    output = capsys.readouterr()
    if message:
        assert code == 2
        assert message in output.err
        assert tree(tmp_path / "shards") == before
    else:
        assert code == 0
        assert "1 tracks have new metadata" in output.out


def test_a_folder_of_an_earlier_version_is_completed_and_then_extended(
    extended: tuple[Path, list[dict]], parts: list[Path], tmp_path: Path
) -> None:
    """It has one fingerprint in plan.json, and no list of tracks."""
    assert shard(parts[0], tmp_path) == 0
    (tmp_path / "records/tracks-0000.bin").unlink()
    plan = tmp_path / "records/plan.json"
    stored = json.loads(plan.read_text())
    plan.write_text(json.dumps(stored | {"tracks": stored["tracks"][0]}))
    assert shard(parts[1], tmp_path) == 2
    assert shard(parts[0], tmp_path) == 0
    assert shard(parts[1], tmp_path) == 0
    assert len(clips_of(tmp_path)) == 9


def test_a_generation_survives_its_bytes() -> None:
    generation = Generation(
        np.array([1, 2**63], np.uint64), np.array([5, 6], np.uint64), np.array([0, 6], np.uint8),
        np.array([0, 2], np.uint8),
    )  # fmt: skip
    again = Generation.from_bytes(generation.to_bytes())
    for name in ("ids", "digests", "clips", "splits"):
        assert np.array_equal(getattr(again, name), getattr(generation, name))
    with pytest.raises(ValueError, match="multiple of 18"):
        Generation.from_bytes(generation.to_bytes()[:-1])
