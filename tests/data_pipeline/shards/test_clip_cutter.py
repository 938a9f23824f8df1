"""Clips are exact parts of their resampled tracks, spread evenly."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipeline.__main__ import main
from data_pipeline.scan import file_scan
from data_pipeline.scan.track import Track, identity, read_manifest
from data_pipeline.scan.walk import walk
from data_pipeline.shards.clip_cutter import Cutting, cut
from lightning_n2m.audio import io as audio_io
from lightning_n2m.audio.resample import resample_file
from lightning_n2m.data.schema import SAMPLE_RATE, Clip, read_index
from tests.data_pipeline.shard_folders import SHORT, members, samples, shard


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


@pytest.mark.parametrize(
    ("length", "spacing", "wanted"),
    [(100, 0, [5, 35, 65]), (100, 5, [0, 35, 70]), (100, 20, [10, 60]), (400, 10, None), (30, 60, [0])],
)
def test_clips_keep_the_given_spacing(length: float, spacing: float, wanted: list | None) -> None:
    track = Track("0" * 16, "", 24_000, 24_000 * length)
    found = Cutting(6, 30.0, spacing).starts(track)
    assert np.allclose(np.diff(found), 30 + spacing)
    assert min(found) == pytest.approx(length - max(found) - 30, abs=1e-6)
    if wanted is not None:
        assert found == pytest.approx(wanted)
    else:
        assert len(found) == 6


def test_memory_does_not_grow_with_a_tar_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members of 1.4 and 14 MB, where those of more than 1 MB are copied to a file."""
    monkeypatch.setattr(file_scan, "_IN_MEMORY", 1 << 20)
    peaks = []
    for seconds in (30, 300):
        music = io.BytesIO()
        noise = np.random.default_rng(0).normal(size=24_000)
        soundfile.write(music, np.tile(0.1 * noise, seconds), 24_000, format="WAV")
        path = tmp_path / f"{seconds}.tar"
        with tarfile.open(path, "w") as tar:
            member = tarfile.TarInfo("song.wav")
            member.size = music.getbuffer().nbytes
            music.seek(0)
            tar.addfile(member, music)
        (file,) = walk(path)
        with file_scan.local_audio(file.path) as audio:
            track = Track(
                track_id=identity(audio), path=file.path, sample_rate=24_000, frames=24_000 * seconds
            )
        tracemalloc.start()
        assert len(cut(track, Cutting(clips=2, seconds=8.0))) == 2
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 3_000_000, peaks
