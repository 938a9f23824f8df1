"""Damage to shards, captions, indices and derived forms is found."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data_pipeline.__main__ import main
from lightning_n2m.data.derived_audio import to_bytes
from lightning_n2m.data.schema import Captions, read_index
from tests.data_pipeline.damage import Members, audio, change, edit_index, problems, write_index

NAN = torch.full((1, 8 * 24_000), torch.nan)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (audio(torch.zeros(1, 8 * 24_000 - 1)), "8.000 s long"),
        (audio(torch.zeros(2, 8 * 24_000)), "2 channels"),
        (audio(torch.zeros(1, 8 * 16_000), 16_000), "16000 Hz"),
        (audio(NAN, format="WAV", subtype="FLOAT"), "NaN or infinite"),
        (lambda found: [(found[0][0], found[0][1][:5000]), *found[1:]], "clip"),
        (lambda found: [(found[0][0], b""), *found[1:]], "cannot be read"),
        (lambda found: found[2:], "its index says"),
        (lambda found: found[1:], "no audio"),
        (lambda found: [*found[:4], *found[:2]], "twice"),
        (
            lambda found: [(name, found[1][1] if "json" in name else data) for name, data in found],
            "describes",
        ),
    ],
)
def test_damage_inside_a_shard_is_found(
    edit: Callable[[Members], Members], reason: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = change(copy, edit)
    found = problems(copy, capsys)
    assert {item["shard"] for item in found} == {name}
    assert any(reason in item["problem"] for item in found), found


def test_one_flipped_bit_is_found(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / read_index(copy).shards[0].name
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))
    assert any("checksum" in item["problem"] for item in problems(copy, capsys))


def test_damage_between_shards_is_found(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = read_index(copy)
    first, second, third = index.shards[:3]
    (copy / first.captions_name).write_text(Captions("0" * 16 + "-00").to_json() + "\n")
    (copy / third.name).unlink()
    shutil.copy(copy / second.name, copy / "audio-999999.tar")
    repeated = dataclasses.replace(second, name="audio-999998.tar")
    shutil.copy(copy / second.name, copy / repeated.name)
    moved = dataclasses.replace(second, split="test" if second.split != "test" else "train")
    write_index(copy, (first, moved, third, *index.shards[3:], repeated))
    found = [(item["shard"], item["problem"]) for item in problems(copy, capsys)]
    for name, reason in (
        (first.name, "labels 0000000000000000-00"),
        (second.name, "another split"),
        (third.name, "missing"),
        ("audio-999999.tar", "does not list it"),
        ("index.json", "more than one shard"),
    ):
        assert any(shard == name and reason in problem for shard, problem in found), (name, found)


@pytest.mark.parametrize("form", ["3200", "mel"])
def test_derived_forms_are_read_too(form: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shard", "--output", str(copy), "--derive", form, "--workers", "1"]) == 0
    assert problems(copy, capsys) == []
    name = read_index(copy).shards[1].name
    os.truncate(copy / form / name, 20_000)
    assert {item["shard"] for item in problems(copy, capsys)} == {f"{form}/{name}"}
    (copy / form / name).unlink()
    assert main(["shard", "--output", str(copy), "--derive", form, "--workers", "2"]) == 0
    assert problems(copy, capsys) == []


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda index: index["settings"].update(parents="0" * 64), "derived from other shards"),
        (lambda index: index["shards"].pop(), "other names, splits or clips"),
        (lambda index: index["shards"][0].update(split="test"), "other names, splits or clips"),
        (lambda index: index["settings"].update(sample_rate=1600), "describes the form 1600"),
        (lambda index: index.update(sample_rate=16_000), "at 16000 Hz"),
        (lambda index: index["settings"].pop("sample_rate"), "describe no form"),
        (lambda index: index["settings"].update(mel={"hop": 0}), "hop"),
        (lambda index: index["shards"][0].update(name="../../x.tar"), "name"),
    ],
)
def test_a_derived_index_that_training_would_refuse_is_found(
    edit: Callable[[dict], object], reason: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shard", "--output", str(copy), "--derive", "3200", "--workers", "1"]) == 0
    edit_index(copy / "3200/index.json", edit)
    found = problems(copy, capsys)
    assert any(reason in item["problem"] for item in found), found


def test_a_derived_clip_of_another_length_is_found(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shard", "--output", str(copy), "--derive", "3200", "--workers", "1"]) == 0
    short = to_bytes(torch.zeros(1, 8 * 3200 - 1))
    name = change(copy / "3200", lambda found: [(found[0][0], short), *found[1:]])
    assert any(
        item["shard"] == f"3200/{name}" and "(25599, 1)" in item["problem"] for item in problems(copy, capsys)
    )
