"""Damage to shard folders, and the problems that verify reports."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data_pipeline.__main__ import main
from lightning_n2m.audio.io import encode
from lightning_n2m.data.schema import Index, Shard, read_index

Members = list[tuple[str, bytes]]


def problems(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    capsys.readouterr()
    code = main(["verify", "--shards", str(folder), "--workers", "1", "--json"])
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert code == (2 if report["problems"] else 0)
    if code:
        last = said.err.splitlines()[-1]
        assert report["problems"][0]["shard"] in last
        assert "python -m data_pipeline shard" in last
    return report["problems"]


def change(folder: Path, edit: Callable[[Members], Members], honest: bool = True) -> str:
    """Rewrite the first shard; an honest one has its new checksum in the index."""
    index = read_index(folder)
    shard = index.shards[0]
    with tarfile.open(folder / shard.name) as tar:
        found = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(folder / shard.name, "w") as tar:
        for name, data in edit(found):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    if honest:
        data = (folder / shard.name).read_bytes()
        new = dataclasses.replace(shard, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        write_index(folder, (new, *index.shards[1:]))
    return shard.name


def write_index(folder: Path, shards: tuple[Shard, ...]) -> None:
    index: Index = dataclasses.replace(read_index(folder), shards=shards)
    (folder / "index.json").write_text(index.to_json())


def audio(samples: torch.Tensor, rate: int = 24_000, **form: str) -> Callable[[Members], Members]:
    return lambda found: [(found[0][0], encode(samples, rate, **form)), *found[1:]]


def edit_index(path: Path, edit: Callable[[dict], object]) -> None:
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))
