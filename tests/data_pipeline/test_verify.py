"""verify reports what training cannot read; stats counts what the shards hold."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from data_pipeline.__main__ import main
from data_pipeline.scan.track import read_manifest
from data_pipeline.shards.shard_stats import bandwidth
from lightning_n2m.audio.io import encode
from lightning_n2m.data.derived_audio import to_bytes
from lightning_n2m.data.schema import Captions, Index, Shard, read_index
from tests.data_pipeline.conftest import tree

Members = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def shards(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("verified")
    cutting = ["--clip-seconds", "8", "--clips-per-track", "2", "--workers", "1"]
    assert main(["shard", "--manifest", str(manifest), "--output", str(output), *cutting]) == 0
    return output


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "copy"))


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


def test_whole_shards_pass(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--shards", str(shards), "--workers", "1"]) == 0
    assert "24 clips of 12 tracks, 0.05 hours: all is well." in capsys.readouterr().out
    assert problems(shards, capsys) == []


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


def test_a_rerun_of_shard_mends_what_verify_names(
    manifest: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = change(copy, lambda found: [(found[0][0], found[0][1][:-1] + b"x"), *found[1:]], honest=False)
    assert {item["shard"] for item in problems(copy, capsys)} == {name}
    (copy / name).unlink()
    cutting = ["--clip-seconds", "8", "--clips-per-track", "2", "--workers", "1"]
    assert main(["shard", "--manifest", str(manifest), "--output", str(copy), *cutting]) == 0
    assert problems(copy, capsys) == []


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


def edit_index(path: Path, edit: Callable[[dict], object]) -> None:
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


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


HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\"'"


def test_a_page_of_hostile_titles_shows_them_as_text(copy: Path, tmp_path: Path) -> None:
    def rename(found: Members) -> Members:
        fields = {"title": HOSTILE, "licence": HOSTILE, "genres": [HOSTILE], "tags": ["$\\frac{"]}
        return [
            (name, json.dumps(json.loads(data) | fields).encode() if name.endswith(".json") else data)
            for name, data in found
        ]

    index = read_index(copy)
    write_index(copy, index.shards[:1])
    change(copy, rename)
    page = tmp_path / "page"
    assert main(["stats", "--shards", str(copy), "--output", str(page), "--workers", "1"]) == 0
    text = (page / "index.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


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


def test_statistics_match_the_manifest(shards: Path, manifest: Path, tmp_path: Path) -> None:
    label = Captions(f"{read_manifest(manifest)[0].track_id}-00", ("A <b>bold</b> tune.",), ("$x", "y"))
    labelled = Path(shutil.copytree(shards, tmp_path / "labelled"))
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


@pytest.mark.parametrize(("edge", "expected"), [(3000, 3.0), (7900, 8.0), (11_000, 11.0)])
def test_where_the_spectrum_ends(edge: int, expected: float) -> None:
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=24_000 * 4))
    spectrum[4 * edge :] = 0
    samples = torch.from_numpy(np.fft.irfft(spectrum)).float()
    assert bandwidth(samples, 24_000) == pytest.approx(expected, abs=0.5)


def test_stats_of_one_clip_by_hand(tmp_path: Path) -> None:
    """A square wave at half of full scale: its RMS level is its peak, -6 dB."""
    (tmp_path / "music").mkdir()
    wave = 0.5 * np.sign(np.sin(2 * np.pi * 100.3 * np.arange(24_000 * 21) / 24_000))
    soundfile.write(tmp_path / "music/square.wav", wave, 24_000)
    main(["manifest", "--source", str(tmp_path / "music"), "--output", str(tmp_path / "m.jsonl")])
    cutting = ["--clip-seconds", "20", "--output", str(tmp_path / "s"), "--workers", "1"]
    main(["shard", "--manifest", str(tmp_path / "m.jsonl"), *cutting])
    main(["stats", "--shards", str(tmp_path / "s"), "--output", str(tmp_path / "page"), "--workers", "1"])
    figures = json.loads((tmp_path / "page/stats.json").read_text())
    assert (figures["levels"], figures["peaks"]) == ({"-6": 1}, {"-6": 1})
    assert figures["genres"] == {"(none)": 1}
