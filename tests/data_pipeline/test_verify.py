"""verify reports what training cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from data_pipeline.__main__ import main
from tests.data_pipeline.conftest import tree
from tests.data_pipeline.damage import Members, audio, change, problems


def test_whole_shards_pass(two_clip_shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--shards", str(two_clip_shards), "--workers", "1"]) == 0
    report = capsys.readouterr().out
    assert "24 clips of 12 tracks, 0.05 hours: all is well." in report
    assert f"--data.shards {two_clip_shards}" in report.splitlines()[-1]
    assert problems(two_clip_shards, capsys) == []


def test_a_rerun_of_shard_mends_what_verify_names(
    manifest: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = change(copy, lambda found: [(found[0][0], found[0][1][:-1] + b"x"), *found[1:]], honest=False)
    assert {item["shard"] for item in problems(copy, capsys)} == {name}
    (copy / name).unlink()
    cutting = ["--clip-seconds", "8", "--clips-per-track", "2", "--workers", "1"]
    assert main(["shard", "--manifest", str(manifest), "--output", str(copy), *cutting]) == 0
    assert problems(copy, capsys) == []


@pytest.mark.parametrize("command", ["stats", "verify", "derive"])
def test_a_key_with_a_path_writes_nothing_outside(
    command: str, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def move(found: Members) -> Members:
        fields = json.loads(found[1][1]) | {"track_id": "../../escaped"}
        clip = "../../escaped-00"
        return [(f"{clip}.flac", found[0][1]), (f"{clip}.json", json.dumps(fields).encode()), *found[2:]]

    change(copy, move)
    before = set(tree(tmp_path))
    arguments = {
        "stats": ["stats", "--shards", str(copy), "--output", str(tmp_path / "page" / "deep" / "er")],
        "verify": ["verify", "--shards", str(copy)],
        "derive": ["shard", "--output", str(copy), "--derive", "3200"],
    }[command]
    assert main([*arguments, "--workers", "1"]) == 2
    assert "track_id" in capsys.readouterr().err
    assert not [name for name in set(tree(tmp_path)) - before if "escaped" in name]


def test_two_processes_find_the_same(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(copy, audio(torch.zeros(2, 8 * 24_000)))
    one = problems(copy, capsys)
    main(["verify", "--shards", str(copy), "--workers", "2", "--json"])
    assert json.loads(capsys.readouterr().out)["problems"] == one
