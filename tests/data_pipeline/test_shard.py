"""Shards hold what the manifest describes, and survive being killed."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from data_pipeline.__main__ import main
from data_pipeline.scan.track import Track, read_manifest
from data_pipeline.shards.clip_cutter import Cutting
from lightning_n2m.audio import io as audio_io
from lightning_n2m.audio.resample import resample_file
from lightning_n2m.data.schema import SAMPLE_RATE, Clip, read_index, split_of
from tests.data_pipeline.conftest import tree

SHORT = ["--clip-seconds", "8", "--clips-per-track", "3", "--tracks-per-shard", "2"]


def shard(manifest: Path, output: Path, *more: str) -> int:
    return main(["shard", "--manifest", str(manifest), "--output", str(output), "--workers", "1", *more])


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def samples(data: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


@pytest.fixture(scope="module")
def shards(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("shards")
    assert shard(manifest, output, *SHORT) == 0
    return output


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


def test_a_clip_is_its_part_of_the_resampled_track_with_its_metadata(manifest: Path, shards: Path) -> None:
    tracks = {track.track_id: track for track in read_manifest(manifest)}
    found = {
        name: data for item in read_index(shards).shards for name, data in members(shards / item.name).items()
    }
    assert len(found) == 2 * 12 * 3
    for name in sorted(found):
        if name.endswith(".flac"):
            continue
        clip, samples_of_clip = Clip.from_json(found[name]), samples(found[name.replace(".json", ".flac")])
        track = tracks[clip.track_id]
        assert (clip.title, clip.genres, clip.truth) == (track.title, track.genres, track.truth)
        assert (clip.descriptions, clip.licence, clip.source) == (
            track.descriptions,
            track.licence,
            track.source,
        )
        assert name == f"{clip.key}.json"
        whole = audio_io.read(track.path)
        wanted = audio_io.to_mono(resample_file(whole.samples, whole.sample_rate, SAMPLE_RATE))[0].numpy()
        first = round(clip.start_s * SAMPLE_RATE)
        assert len(samples_of_clip) == 8 * SAMPLE_RATE
        assert np.abs(samples_of_clip - wanted[first : first + len(samples_of_clip)]).max() < 2e-4


@pytest.mark.parametrize("rate", [44_100, 48_000, 22_050, 16_000])
def test_cuts_at_other_rates_fall_on_the_sample(rate: int, tmp_path: Path) -> None:
    time_s = np.arange(rate * 27) / rate
    tone = 0.4 * np.sin(2 * np.pi * 440 * time_s) + 0.2 * np.sin(2 * np.pi * 1234.5 * time_s)
    (tmp_path / "music").mkdir()
    soundfile.write(tmp_path / "music/tone.wav", np.stack([tone, tone], axis=1), rate)
    main(
        [
            "manifest",
            "--source",
            str(tmp_path / "music"),
            "--output",
            str(tmp_path / "m.jsonl"),
            "--workers",
            "1",
        ]
    )
    assert shard(tmp_path / "m.jsonl", tmp_path / "shards", *SHORT) == 0
    found = {k: v for item in (tmp_path / "shards").glob("*.tar") for k, v in members(item).items()}
    clips = [Clip.from_json(data) for name, data in sorted(found.items()) if name.endswith(".json")]
    assert len(clips) == 3
    for clip in clips:
        when = clip.start_s + np.arange(8 * SAMPLE_RATE) / SAMPLE_RATE
        wanted = 0.4 * np.sin(2 * np.pi * 440 * when) + 0.2 * np.sin(2 * np.pi * 1234.5 * when)
        samples_of_clip = samples(found[f"{clip.key}.flac"])
        # To the very edges: a clip is cut out of resampled music, not resampled after the cut.
        assert np.abs(samples_of_clip - wanted).max() < 1e-3


@pytest.mark.parametrize(
    ("length", "number"), [(30.0, 1), (29.96, 1), (59.9, 1), (60.0, 2), (100.0, 3), (400.0, 6)]
)
def test_clips_are_spread_evenly_and_do_not_overlap(length: float, number: int) -> None:
    found = Cutting().starts(Track("0" * 16, "", 24_000, round(length * 24_000)))
    assert len(found) == number
    edges = [-30.0, *found, length + 0.05]
    gaps = np.diff(edges) - 30.0
    assert gaps.min() >= -1e-6 - 0.05
    assert np.ptp(gaps[1:-1]) < 1e-6 if number > 1 else True


def test_a_track_as_long_as_a_clip_is_taken_whole(manifest: Path, tmp_path: Path) -> None:
    assert shard(manifest, tmp_path / "shards") == 0
    index = read_index(tmp_path / "shards")
    assert sum(item.clips for item in index.shards) == 12
    found = [
        data
        for item in index.shards
        for name, data in members(tmp_path / "shards" / item.name).items()
        if name.endswith(".flac")
    ]
    assert {len(samples(data)) for data in found} == {30 * SAMPLE_RATE}


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


def test_an_unknown_split_is_refused(music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text('{"path": "waltz/piece.ogg", "split": "eval"}\n')
    arguments = ["--source", str(music), "--metadata", str(table), "--output", str(tmp_path / "m.jsonl")]
    assert main(["manifest", *arguments]) == 2
    assert (
        "table.jsonl, line 1, 'split' is 'eval'; give one of train, validation, test"
        in capsys.readouterr().err
    )


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


def test_a_killed_job_resumes(manifest: Path, shards: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "data_pipeline",
        "shard",
        "--manifest",
        manifest,
        "--output",
        tmp_path,
        "--workers",
        "1",
    ]
    job = subprocess.Popen([*map(str, command), *SHORT], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    give_up = time.monotonic() + 60
    while len(list(tmp_path.glob("records/audio-*.json"))) < 2 and job.poll() is None:
        assert time.monotonic() < give_up, "the job makes no shards"
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL, "the job was over before it could be killed"
    assert not (tmp_path / "index.json").exists()
    # What a kill in the middle of a file leaves behind.
    (tmp_path / ".audio-000004.tar.12345.part").write_bytes(b"half")
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("audio-*.tar")}
    assert shard(manifest, tmp_path, *SHORT) == 0
    assert tree(tmp_path) == tree(shards)
    kept = [path for path in done if path.stat().st_mtime_ns == done[path]]
    assert len(kept) >= 2, "finished shards were made again"


def test_a_finished_folder_is_left_as_it_is_and_a_lost_shard_comes_back(
    manifest: Path, shards: Path, tmp_path: Path
) -> None:
    shutil.copytree(shards, tmp_path / "copy")
    (tmp_path / "copy/audio-000001.tar").unlink()
    whole = tmp_path / "copy/audio-000002.tar"
    os.truncate(whole, 1000)
    untouched = (tmp_path / "copy/audio-000000.tar").stat().st_mtime_ns
    assert shard(manifest, tmp_path / "copy", *SHORT) == 0
    assert tree(tmp_path / "copy") == tree(shards)
    assert (tmp_path / "copy/audio-000000.tar").stat().st_mtime_ns == untouched


def test_other_settings_are_refused(manifest: Path, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(shards)
    assert shard(manifest, shards, *SHORT[2:], "--clip-seconds", "5") == 2
    said = capsys.readouterr().err
    assert str(shards) in said
    assert "clip_seconds" in said
    assert said.count("\n") == 1
    assert tree(shards) == before


def test_a_track_that_became_unreadable_is_named_and_the_run_continues(music: Path, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").parent.mkdir(exist_ok=True)
    main(["manifest", "--source", str(music), "--output", str(tmp_path / "m.jsonl"), "--workers", "1"])
    (music / "waltz/piece.ogg").write_bytes(b"overwritten")
    (music / "hymn/piece.ogg").unlink()
    shutil.copy(music / "techno/piece.ogg", music / "tango/piece.ogg")
    assert shard(tmp_path / "m.jsonl", tmp_path / "shards", *SHORT) == 0
    lines = [json.loads(line) for line in (tmp_path / "shards/rejected.jsonl").read_text().splitlines()]
    assert sorted(line["path"] for line in lines) == ["hymn/piece.ogg", "tango/piece.ogg", "waltz/piece.ogg"]
    assert sum(item.clips for item in read_index(tmp_path / "shards").shards) == 3
    assert str(music) not in (tmp_path / "shards/rejected.jsonl").read_text()


def test_the_loader_reads_what_was_written(shards: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    name = read_index(shards).shards[0].name
    first = next(iter(webdataset.WebDataset(str(shards / name), shardshuffle=False)))
    assert set(first) >= {"__key__", "flac", "json"}
    assert torch.is_tensor(audio_io.read(first["flac"]).samples)
